"""Lists the application's routes: which are plain, and why the others are not.

Run it in backend/: `python -m groundwork.dev.routes`, with another application's `module:name` if it is not
`app.main:app`. It needs no database.
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from groundwork.fast.plain_conditions import why_not_plain
from groundwork.fast.route_table import overlap

_PLAIN = "plain"


def lines_of(app: Any) -> list[str]:
    """A line for each operation: methods, path, and `plain` or the reason why it is not."""
    rows = [
        (",".join(sorted(getattr(context, "methods", None) or ())), str(context.path_format or ""), reason or _PLAIN)
        for context, reason in _reasons(app.router)
    ]
    methods, paths = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    lines = [f"{row[0]:{methods}}  {row[1]:{paths}}  {row[2]}" for row in rows]
    return lines if getattr(app, "fast", True) else [*lines, "fast=False is set: FastAPI's own way serves every route."]


def _reasons(router: APIRouter) -> Iterator[tuple[Any, str | None]]:
    """Each route, and why it is not plain; None if it is plain."""
    earlier: list[Any] = []
    for context in iter_route_contexts(router.routes):
        reason = why_not_plain(context, router)
        if reason is None and any(overlap(context, other) for other in earlier):
            reason = "an earlier route could answer some of its requests"
        earlier.append(context)
        yield context, reason


def main(arguments: list[str]) -> int:
    module, _, name = (arguments[0] if arguments else "app.main:app").partition(":")
    # The application is only made, not started, so nothing connects to this.
    os.environ.setdefault("DATABASE_URL", "postgresql://localhost/none")
    sys.path.insert(0, str(Path.cwd()))
    try:
        app = getattr(import_module(module), name or "app")
    except (ImportError, AttributeError) as error:
        print(
            f"{module}:{name or 'app'} cannot be loaded: {error}. Mend that, or give another module:name of backend/.",
            file=sys.stderr,
        )
        return os.EX_USAGE
    print("\n".join(lines_of(app)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
