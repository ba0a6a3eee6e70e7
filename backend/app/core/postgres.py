"""From a PostgreSQL URL, as hosting providers print it, to an asyncpg connection."""

import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import ColumnClause, func, literal_column, select

from app.core.dsn import SESSION_ATTRIBUTES, Host, read_hosts, read_url, user_of
from app.core.password_file import password_file
from app.core.pool import Connection
from app.core.target import ConnectionTarget
from app.core.tls import is_direct, make_context, read_mode

logger = logging.getLogger(__name__)

Inspect = Callable[[Connection], Awaitable[None]]

_PGBOUNCER_PORT = 6432


class Connector:
    """Opens the service's connections to one target.

    A transaction pooler (PgBouncer, Neon's pooled host) gives each transaction another server connection, so prepared
    statements must not be kept there: PgBouncer before 1.21 fails on them, and a kept one can give wrong values after
    a column's type has changed. Some pooled addresses tell by their name; for the others the first connection finds
    out: a pooler announces a process id of its own making, PostgreSQL the backend's.

    Args:
        when_direct: called once, with the first connection to the server itself.
    """

    def __init__(self, target: ConnectionTarget, *, timeout_seconds: float, when_direct: Inspect | None = None) -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._when_direct = when_direct
        self._pooled: bool | None = target.transaction_pooled or None

    async def __call__(self) -> Connection:
        if self._pooled is not None:
            return await self._connect(pooled=self._pooled)
        connection = await self._connect(pooled=False)
        try:
            pooled = await _is_pooled(connection)
            if not pooled and self._when_direct:
                await self._when_direct(connection)
        except BaseException:
            connection.terminate()
            raise
        self._pooled = pooled
        if not pooled:
            return connection
        logger.info("DATABASE_URL leads to a transaction pooler: prepared statements are not kept")
        await connection.close(timeout=self._timeout_seconds)
        return await self._connect(pooled=True)

    async def _connect(self, *, pooled: bool) -> Connection:
        options = {"statement_cache_size": 0} if pooled else {}
        # `command_timeout` bounds what is sent without a timeout of its own: the beginning and end of a transaction.
        return await self._target.connect(
            timeout_seconds=self._timeout_seconds, command_timeout=self._timeout_seconds, **options
        )


async def _is_pooled(connection: Connection) -> bool:
    # The tag says how many rows there are. A statement with a result would be a prepared one.
    announced: ColumnClause[int] = literal_column(str(connection.get_server_pid()))
    tag = await connection.execute(str(select(announced).where(func.pg_backend_pid() == announced)))
    return tag != "SELECT 1"


def connection_target(url: str) -> ConnectionTarget:
    """Read a URL as Neon, Supabase, Railway, Heroku and others hand it out, with the meaning that libpq gives it.

    Raises:
        ValueError: a sentence on what is wrong, without the URL, which holds a password.
    """
    parameters = read_url(url)
    hosts = read_hosts(parameters)
    user = user_of(parameters)
    mode = read_mode(parameters)
    names = {host.name for host in hosts if not host.is_socket} if mode != "disable" else set()
    settings = {key: value for key in ("application_name", "options") if (value := parameters.get(key))}
    return ConnectionTarget(
        hosts=hosts,
        user=user,
        password=parameters.get("password"),
        passfile=password_file(parameters),
        database=parameters.get("dbname") or user,
        sslmode=mode,
        direct_tls=is_direct(parameters, mode),
        contexts={name: make_context(parameters, mode, name) for name in names},
        session_attributes=parameters.one_of("target_session_attrs", SESSION_ATTRIBUTES, "any"),
        server_settings=settings,
        transaction_pooled=any(map(_is_pooler, hosts)),
        ignored=parameters.ignored,
    )


def _is_pooler(host: Host) -> bool:
    """Neon's pooled hosts are called `…-pooler.…`, Supabase's `….pooler.…`; PgBouncer's usual port is 6432."""
    return "-pooler." in host.name or ".pooler." in host.name or host.port == _PGBOUNCER_PORT
