"""What an error of the driver means for the caller, for the connection, and for another attempt."""

import asyncpg

from groundwork.errors import Unavailable

AWAY_CLASSES = ("08", "53", "57", "58")
"""SQLSTATE classes (PostgreSQL manual, appendix A) that say that the database cannot serve now: connection exception,
insufficient resources, operator intervention, system error."""

READ_ONLY = "25006"
"""The server takes no writes: it is a standby, or was the primary before a failover, or its disk is full."""

LOCK_NOT_AVAILABLE = "55P03"
"""A lock was not free within `lock_timeout`."""

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The errors of an attempt to connect when the database is away, refuses or does not answer."""

# Further errors that say that the database cannot serve now. A statement that got no lock is not repeated at once,
# because it has already waited for the role's lock_timeout.
_AWAY_STATES = (READ_ONLY, LOCK_NOT_AVAILABLE)
# Invalid statement name and duplicate prepared statement: a pooler has led the connection to a session that does not
# have the statements prepared on this connection. Both errors are raised before anything runs.
_FOREIGN_SESSION = ("26000", "42P05")
# Serialization failure and deadlock: the application has to repeat the whole transaction (manual, section 13.5).
_ROLLED_BACK = ("40001", "40P01", *_FOREIGN_SESSION)
_INTERNAL_ERROR = "XX000"


class RolledBack(Unavailable):
    """The server rolled everything back, and another attempt may succeed at once. Without one, the answer is 503."""


def meaning(error: BaseException, connection: asyncpg.Connection) -> BaseException:
    """The error to raise to the caller: `RolledBack`, `Unavailable`, or the error itself, which is a defect."""
    if isinstance(error, asyncpg.InvalidCachedStatementError) or getattr(error, "sqlstate", None) in _ROLLED_BACK:
        return RolledBack()
    return Unavailable() if is_away(error, connection) else error


def is_away(error: BaseException, connection: asyncpg.Connection) -> bool:
    """Whether the error means that the database cannot serve now."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES or error.sqlstate in _AWAY_STATES or connection.is_closed()
    # asyncpg raises InternalClientError after the server has ended an idle connection and before it is closed here.
    if isinstance(error, OSError | asyncpg.InternalClientError):
        return True
    return isinstance(error, asyncpg.InterfaceError) and connection.is_closed()


def is_lost(error: BaseException | None, connection: asyncpg.Connection) -> bool:
    """Whether the connection has ended. A timeout does not end it: the statement may still run on the server."""
    if isinstance(error, TimeoutError):
        return False
    return connection.is_closed() or isinstance(error, asyncpg.InternalClientError)


def is_usable_after(error: BaseException, connection: asyncpg.Connection) -> bool:
    """Whether the connection can run the next statement.

    A session survives every error that the server raises, even a cancelled statement (57014), unless the severity is
    FATAL. After a FATAL error, the connection is closed before asyncpg raises the error.
    """
    if not isinstance(error, asyncpg.PostgresError) or connection.is_closed():
        return False
    return error.sqlstate not in _FOREIGN_SESSION


def is_outdated(error: BaseException | None) -> bool:
    """Whether the prepared statements and types that a connection keeps may no longer fit the schema or the session.

    PostgreSQL has no SQLSTATE of its own for a statement whose type was dropped and created again. It raises an
    internal error: "cache lookup failed for type 16385".
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return True
    return getattr(error, "sqlstate", None) in (_INTERNAL_ERROR, *_FOREIGN_SESSION)


def may_be_repeated(error: BaseException) -> bool:
    """Whether nothing took effect, and another attempt may succeed now.

    Args:
        error: what `meaning` returned. After an internal error, which may be a defect, repeat only once.
    """
    return isinstance(error, RolledBack) or getattr(error, "sqlstate", None) == _INTERNAL_ERROR


def is_transient(error: Exception) -> bool:
    """Whether another attempt to connect may succeed soon after this error. After a wrong password it cannot."""
    if isinstance(error, asyncpg.PostgresError):
        return error.sqlstate[:2] in AWAY_CLASSES
    # TargetServerAttributeNotMatched: none of several servers is the primary yet.
    return isinstance(error, OSError | asyncpg.TargetServerAttributeNotMatched)
