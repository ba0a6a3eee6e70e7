"""SQLModel's own `AsyncSession`, on the connections of the pool. Nothing guards whose rows its statements reach.

The pool lends the connection, so the session counts in `DATABASE_POOL_SIZE`, waits in the same queue, and gets the same
503. SQLAlchemy's statements are not kept prepared, which is right behind every kind of pooler.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from time import monotonic
from typing import Any

from asyncpg import Connection
from sqlalchemy import NullPool, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import EmulatedDBAPIException
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from groundwork.data.database import Database, note_failure, note_statement
from groundwork.data.failures import is_usable_after, meaning
from groundwork.observe.current_request import current_request

MARK = "/* plain session */ "
"""The beginning of each statement of such a session, so that `pg_stat_activity` shows where it comes from."""

reasons: list[str] = []
"""Why sessions are used where no role is asked for. `make guard` lists them."""

_BEGAN = "began"
_NAME = "session"
"""What metrics and the log call every statement of a session."""


class PooledDialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect for asyncpg, without its changes to connections, because others use the same pool."""

    supports_statement_cache = True
    # Without a codec on the connection, JSON arrives as text.
    supports_native_json_deserialization = False

    def on_connect(self) -> Any:
        """Set no codecs."""


registry.register("postgresql.pooled", __name__, PooledDialect.__name__)


class _Lent:
    """A connection of the pool, as SQLAlchemy uses it. Closing it gives it back."""

    failure: BaseException | None = None

    def __init__(self, database: Database, connection: Connection) -> None:
        self._connection = connection
        self._take_back: Callable[..., None] | None = database.take_back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - SQLAlchemy's own
        # SQLAlchemy gives a timeout when the connection must not be used again.
        if timeout is None and not self._connection.is_in_transaction():
            self._give_back(self.failure)
        else:
            self.terminate()

    def terminate(self) -> None:
        self._give_back(self.failure or ConnectionAbortedError())

    def _give_back(self, failure: BaseException | None) -> None:
        take_back, self._take_back = self._take_back, None
        if take_back:  # only once, or two requests would get the same connection
            take_back(self._connection, failure)


@asynccontextmanager
async def open_session(database: Database, *, reason: str | None = None) -> AsyncIterator[AsyncSession]:
    """A session, which is rolled back at the end unless it was committed.

    Args:
        reason: why the session is open where no role was asked for. A job, outside a request, needs none.

    Raises:
        TypeError: the route asks for no role, and there is no reason.
        Unavailable: (also from the session) the database is away, or did not answer in time.
    """
    request = current_request.get()
    if reason is None and request is not None and not hasattr(request, "role"):
        raise TypeError(
            "a plain session reaches everybody's rows, and the route asks for no role: add its router to `staff` in"
            " app/main.py, or say why it needs none: plain_session(reason='…')"
        )
    # What was read stays readable after a commit. To read it again would need an `await`.
    async with AsyncSession(_engine(database), expire_on_commit=False) as session:
        yield session


# A process has one database.
@lru_cache(maxsize=1)
def _engine(database: Database) -> AsyncEngine:
    """SQLAlchemy's engine, with its cache of compiled statements. It keeps no connections itself."""

    async def borrow() -> _Lent:
        return _Lent(database, await database.lend())

    def connect() -> Any:
        return engine.dialect.dbapi.connect(  # type: ignore[union-attr]
            async_creator_fn=borrow, prepared_statement_cache_size=0, prepared_statement_name_func=str
        )

    engine = create_async_engine("postgresql+pooled://", creator=connect, poolclass=NullPool)
    event.listen(engine.sync_engine, "before_cursor_execute", _begin, retval=True)
    event.listen(engine.sync_engine, "after_cursor_execute", _end)
    event.listen(engine.sync_engine, "handle_error", _translate)
    return engine


def _begin(connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> tuple[str, Any]:
    connection.info[_BEGAN] = monotonic()
    return f"{MARK}{sql}", parameters


def _end(connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
    note_statement(_NAME, sql, monotonic() - connection.info[_BEGAN])


def _translate(context: Any) -> None:
    """Note an error, and raise `Unavailable` in its place when the database is away."""
    error = context.original_exception
    error = error.driver_exception if isinstance(error, EmulatedDBAPIException) else error
    if context.connection is None or context.connection.invalidated:
        return
    lent = context.connection.connection.driver_connection
    lent.failure = error
    if context.execution_context is not None:
        note_statement(_NAME, context.statement, monotonic() - context.connection.info[_BEGAN], error)
    note_failure(error, lent)
    # Such a connection is not rolled back but closed.
    context.is_disconnect = not is_usable_after(error, lent)
    translated = meaning(error, lent)
    if translated is not error:
        raise translated from error
