"""A connection through a pooler that tracks prepared statements.

asyncpg prepares a statement in `_get_statement`, a private method, which is overridden here. The program does not start
if asyncpg no longer prepares there.
"""

from typing import Any

import asyncpg

from groundwork.data.kept_texts import kept_texts
from groundwork.data.prepared_names import NamingConnection, require_call


class TrackedConnection(NamingConnection):
    """Keeps the statements that `kept_texts` has a text for. It prepares any other one anew each time it runs."""

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


def require_preparing() -> None:
    """Check that asyncpg prepares statements where it is overridden above.

    Raises:
        RuntimeError: asyncpg does not call the overridden method.
    """
    caller = getattr(asyncpg.Connection, "_do_execute", None)
    require_call(caller, TrackedConnection._get_statement.__name__, "prepares statements")


require_preparing()
