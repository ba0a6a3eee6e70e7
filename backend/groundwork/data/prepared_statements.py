"""Connections whose prepared statements have random names and, behind a pooler, also texts of their own.

In every process, asyncpg names its statements `__asyncpg_stmt_1__`, `__asyncpg_stmt_2__` and so on. Behind a pooler,
two processes can share a server connection. Then one process would run the other's statement of the same name. With
random names, the server refuses such a statement before anything runs (SQLSTATE 26000).

asyncpg has a public way to name a single statement (`Connection.prepare(name=...)`), but none to name those that it
prepares by itself, and none to prepare them under another text. So private methods are overridden here. The program
does not start if asyncpg no longer calls them.
"""

from secrets import token_hex
from typing import Any

import asyncpg

from groundwork.data.kept_texts import kept_texts

_BYTES = 8


class NamingConnection(asyncpg.Connection):
    """A connection whose prepared statements have random names."""

    def _get_unique_id(self, prefix: str) -> str:
        return f"{prefix}_{token_hex(_BYTES)}"


class TrackedConnection(NamingConnection):
    """A connection through a pooler that tracks prepared statements.

    It keeps the statements that `kept_texts` has a text for. It prepares any other one anew each time it runs.
    """

    _generation = -1  # of the statement that was run last

    async def _get_statement(
        self,
        query: str,
        timeout: Any,  # noqa: ASYNC109 - asyncpg's own
        *,
        named: Any = False,
        use_cache: bool = True,
        **options: Any,
    ) -> Any:
        self._generation = kept_texts.generation
        text = None if named else kept_texts.of(query)
        options = {"named": named, "use_cache": use_cache and text is not None, **options}
        statement = await super()._get_statement(text or query, timeout, **options)  # type: ignore[misc]
        if not statement.name:
            # The next transaction may run in another session, so the text is sent again with the values.
            statement.mark_unprepared()
        return statement

    async def reload_schema_state(self) -> None:
        """Prepare every statement again, under a text that the pooler has not prepared yet."""
        kept_texts.renew(self._generation)
        await super().reload_schema_state()


def require_calls() -> None:
    """Check that asyncpg calls the methods that are overridden above.

    Raises:
        RuntimeError: it does not.
    """
    naming = getattr(asyncpg.Connection, "_get_statement", None)
    preparing = getattr(asyncpg.Connection, "_do_execute", None)
    for caller, called, what in (
        (naming, NamingConnection._get_unique_id, "names prepared statements"),
        (preparing, TrackedConnection._get_statement, "prepares statements"),
    ):
        if called.__name__ not in getattr(getattr(caller, "__code__", None), "co_names", ()):
            raise RuntimeError(
                f"asyncpg {asyncpg.__version__} {what} in a new way: install the version that requirements.txt names"
            )


require_calls()
