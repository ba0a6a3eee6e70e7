"""What an error of the driver means: for the caller, for the connection, and for another attempt."""

import asyncpg

from groundwork.errors import Unavailable

AWAY_CLASSES = ("08", "53", "57", "58")
"""SQLSTATE classes (PostgreSQL manual, appendix A) of a database that cannot serve now: connection exception,
insufficient resources, operator intervention, system error."""

READ_ONLY = "25006"
"""The server takes no writes: a standby, what was the primary before a failover, or a disk that is full."""

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What opening a connection fails with when the database is away, refuses or does not answer."""

# Errors beside those of AWAY_CLASSES that say that the database cannot serve now. Lock not available (55P03) is no
# reason to try again at once: a role's lock_timeout says how long to wait for a lock, and that time is over.
_AWAY_STATES = (READ_ONLY, "55P03")
# Serialization failure and deadlock: PostgreSQL asks for the whole transaction again (manual, section 13.5).
_COLLISIONS = ("40001", "40P01")
# Invalid statement name and duplicate prepared statement: the session does not know the statements that this
# connection has prepared, because a pooler stands between them. Both are raised before anything runs.
_FOREIGN_SESSION = ("26000", "42P05")
_INTERNAL_ERROR = "XX000"


class RolledBack(Unavailable):
    """The server has undone all of it, and the same may succeed at once. Whoever cannot repeat it answers 503."""


def meaning(error: BaseException, connection: asyncpg.Connection) -> BaseException:
    """What the caller is told: `Unavailable`, `RolledBack`, or the error itself, which is a defect."""
    if _is_rolled_back(error):
        return RolledBack()
    return Unavailable() if is_away(error, connection) else error


def is_away(error: BaseException, connection: asyncpg.Connection) -> bool:
    """Whether the database's absence caused the error."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES or error.sqlstate in _AWAY_STATES or connection.is_closed()
    # asyncpg raises InternalClientError between the server's goodbye to an idle connection and the connection's end.
    if isinstance(error, OSError | asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and connection.is_closed()


def is_lost(error: BaseException | None, connection: asyncpg.Connection) -> bool:
    """Whether the connection ended; a statement that only took too long may have reached the server, and run on."""
    if isinstance(error, TimeoutError):
        return False
    return connection.is_closed() or isinstance(error, asyncpg.InternalClientError)


def is_usable_after(error: BaseException, connection: asyncpg.Connection) -> bool:
    """Whether the connection is fit for the next statement.

    The session lives on after every error of the server's, cancelled statements (57014) included, unless its severity
    is FATAL. The connection is then closed by the time that asyncpg raises it.
    """
    if not isinstance(error, asyncpg.PostgresError) or connection.is_closed():
        return False
    return error.sqlstate not in _FOREIGN_SESSION


def is_outdated(error: BaseException) -> bool:
    """Whether what a connection keeps of statements and types may be the cause: it no longer fits schema or session.

    PostgreSQL has no SQLSTATE for a statement whose type was dropped and made again: it is an internal error, "cache
    lookup failed for type 16385".
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True
    return getattr(error, "sqlstate", None) in (_INTERNAL_ERROR, *_FOREIGN_SESSION)


def may_be_repeated(told: BaseException) -> bool:
    """Whether the same may succeed now, and did nothing before. An internal error is often a defect: repeat it once."""
    return isinstance(told, RolledBack) or getattr(told, "sqlstate", None) == _INTERNAL_ERROR


def is_transient(error: Exception) -> bool:
    """Whether another attempt to connect may succeed soon after this error. After a wrong password it cannot."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES
    # TargetServerAttributeNotMatched: none of several servers is the primary yet.
    return isinstance(error, OSError | asyncpg.TargetServerAttributeNotMatched)


def _is_rolled_back(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True
    return getattr(error, "sqlstate", None) in (*_COLLISIONS, *_FOREIGN_SESSION)
