"""Gives prepared statements names that no other connection uses.

In every process, asyncpg names its statements `__asyncpg_stmt_1__`, `__asyncpg_stmt_2__` and so on. Behind a pooler,
two processes can share a server connection. Then one process would run the other's statement of the same name. With
random names, the server refuses such a statement before anything runs (SQLSTATE 26000).

asyncpg has a public way to name a single statement (`Connection.prepare(name=...)`), but none to name those that it
prepares by itself. So this module overrides a private method. The program does not start if asyncpg no longer
calls it.
"""

from secrets import token_hex

import asyncpg

_BYTES = 8


class NamingConnection(asyncpg.Connection):
    """A connection whose prepared statements have random names."""

    def _get_unique_id(self, prefix: str) -> str:
        return f"{prefix}_{token_hex(_BYTES)}"


def require_naming() -> None:
    """Check that asyncpg uses the names above.

    Raises:
        RuntimeError: asyncpg does not call the overridden method to name its statements.
    """
    names_statements = getattr(asyncpg.Connection, "_get_statement", None)
    calls = getattr(getattr(names_statements, "__code__", None), "co_names", ())
    if NamingConnection._get_unique_id.__name__ not in calls:
        raise RuntimeError(
            f"asyncpg {asyncpg.__version__} names prepared statements in a new way: install the version that"
            " requirements.txt names"
        )


require_naming()
