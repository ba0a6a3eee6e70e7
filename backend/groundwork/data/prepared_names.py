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
    caller = getattr(asyncpg.Connection, "_get_statement", None)
    require_call(caller, NamingConnection._get_unique_id.__name__, "names prepared statements")


def require_call(caller: object, called: str, what: str) -> None:
    """Check that one method of asyncpg's connection calls another one, which is overridden here.

    Args:
        caller: the method; None if asyncpg has it no more.
        called: the other method's name.
        what: what asyncpg does in the caller, for the error.

    Raises:
        RuntimeError: it does not.
    """
    if called not in getattr(getattr(caller, "__code__", None), "co_names", ()):
        raise RuntimeError(
            f"asyncpg {asyncpg.__version__} {what} in a new way: install the version that requirements.txt names"
        )


require_naming()
