"""Checks idle connections of the pool before they are used again."""

from collections.abc import Callable

from asyncpg import Connection
from sqlalchemy import literal_column, select

from groundwork.data.background import BackgroundTasks
from groundwork.data.failures import is_usable_after
from groundwork.observe.metrics import LOST, counts

_CHECK_SECONDS = 1.0
_CHECK = str(select(literal_column("1")))


class Revalidation:
    """The checks that run now.

    Args:
        tasks: runs the checks.
        passed: called with each connection that answered.
        failed: called with each connection that is lost.
    """

    def __init__(
        self, tasks: BackgroundTasks, *, passed: Callable[[Connection], None], failed: Callable[[Connection], None]
    ) -> None:
        self._tasks = tasks
        self._passed, self._failed = passed, failed
        self.count = 0
        """How many checks run."""

    def begin(self, connection: Connection) -> None:
        """Check a connection."""
        self.count += 1
        self._tasks.start(self._check(connection))

    async def _check(self, connection: Connection) -> None:
        answers = await _answers(connection)
        self.count -= 1
        if answers:
            self._passed(connection)
        else:
            counts.database_error(LOST)
            self._failed(connection)


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute(_CHECK, timeout=_CHECK_SECONDS)
    except Exception as error:
        return is_usable_after(error, connection)  # an error from the server is an answer too
    return True
