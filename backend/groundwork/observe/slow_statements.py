"""A log line for each slow statement. It has none of the statement's values, because they are users' data."""

import logging
from math import inf
from typing import Any

from groundwork.observe.current_request import current_request

logger = logging.getLogger(__name__)


class SlowStatements:
    """Reports slow statements.

    Attributes:
        limit_seconds: a statement that takes this long or longer is slow. The settings set it.
    """

    limit_seconds = inf

    def report(self, name: str, seconds: float, result: Any) -> None:
        """Log a slow statement.

        Args:
            result: what the driver returned: rows, a row, a command's tag, or None for no row or a failure.
        """
        request = current_request.get()
        route = {"route": request.route()} if request else {}
        extra = {"statement": name, "seconds": round(seconds, 3), "rows": _count(result), **route}
        logger.warning("slow statement", extra=extra)


def _count(result: Any) -> int:
    """How many rows there are. A command's tag, as `UPDATE 3`, ends with it."""
    if isinstance(result, str):
        count = result.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0
    return len(result) if isinstance(result, list) else int(result is not None)


slow_statements = SlowStatements()
