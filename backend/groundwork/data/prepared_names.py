"""Names of prepared statements that no other connection uses.

asyncpg counts `__asyncpg_stmt_1__`, `__asyncpg_stmt_2__`, … in every process. Where two processes share a server
connection, behind a pooler that does not keep their statements apart, one of them would run the other's statement under
its own name. Under a random name the server refuses it instead (SQLSTATE 26000), before anything has run.

asyncpg has a public way to name one statement (`Connection.prepare(name=...)`), but none to name those that it keeps by
itself. So this overrides one private method, and the program does not start when asyncpg does not call it any more.
"""

from secrets import token_hex

import asyncpg

_BYTES = 8


class NamingConnection(asyncpg.Connection):
    """A connection whose prepared statements have random names."""

    def _get_unique_id(self, prefix: str) -> str:
        return f"{prefix}_{token_hex(_BYTES)}"


def require_naming() -> None:
    """
    Raises:
        RuntimeError: asyncpg does not ask the overridden method for the names of its statements.
    """
    names_statements = getattr(asyncpg.Connection, "_get_statement", None)
    calls = getattr(getattr(names_statements, "__code__", None), "co_names", ())
    if NamingConnection._get_unique_id.__name__ not in calls:
        raise RuntimeError(f"asyncpg {asyncpg.__version__} names prepared statements in a new way: mend {__name__}")


require_naming()
