"""Opens a connection to the first of several hosts and addresses that answers."""

import asyncio
import socket
import ssl
from functools import partial
from typing import Any, Literal, cast

import asyncpg
from asyncpg import Connection

from groundwork.data.connecting import addresses, first_connection
from groundwork.data.dsn import SESSION_ATTRIBUTES, Host, read_hosts, read_url, user_of
from groundwork.data.password_file import find_password, password_file
from groundwork.data.tls import is_direct, make_context, read_mode

_PGBOUNCER_PORT = 6432

# Not every operating system has every option. Probes on an idle connection also keep firewalls from dropping it.
_TCP_OPTIONS = {
    "TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15,  # seconds; macOS has the second name for the first
    "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 5000,  # milliseconds without an acknowledgement of sent data
}  # fmt: skip


class ConnectionTarget:
    """Where and how to connect. It holds the password, so it must never be logged.

    Args:
        url: as for `connector.connection_target`, which says what is raised.
    """

    def __init__(self, url: str) -> None:
        parameters = read_url(url)
        self.hosts = read_hosts(parameters)
        self.user = user_of(parameters)
        self.sslmode = read_mode(parameters)
        self.password = parameters.get("password")
        self._passfile = password_file(parameters)
        """libpq's password file, for hosts when there is no `password`."""
        self.database = parameters.get("dbname") or self.user
        self.direct_tls = is_direct(parameters, self.sslmode)
        """Whether TLS begins without asking the server first."""
        names = {host.name for host in self.hosts if not host.is_socket and self.sslmode != "disable"}
        self.contexts = {name: make_context(parameters, self.sslmode, name) for name in names}
        """The TLS contexts by the names of the hosts."""
        self._session_attributes = parameters.one_of("target_session_attrs", SESSION_ATTRIBUTES, "any")
        """Which kind of server to choose among several."""
        settings = ("application_name", "options")
        self.server_settings = {key: value for key in settings if (value := parameters.get(key))}
        self.transaction_pooled = any(map(_is_pooler, self.hosts))
        """Whether the address is known to lead to a transaction pooler."""
        self.ignored = parameters.ignored
        """The names of the URL's parameters that have no effect."""

    async def connect(self, *, timeout_seconds: float, **options: Any) -> Connection:
        """Open a connection to the first host and address that answers.

        Args:
            timeout_seconds: for all hosts and addresses together.
            options: further arguments of `asyncpg.connect`.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: no connection could be opened.
        """
        limit = asyncio.timeout(timeout_seconds)
        try:
            async with limit:
                connection = await self._connect_with_attributes(timeout_seconds, options)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"no answer in {timeout_seconds:g} s") from None
        _notice_loss(connection)
        return connection

    async def _connect_with_attributes(self, seconds: float, options: dict[str, Any]) -> Connection:
        if self._session_attributes != "prefer-standby":
            return await self._connect_to_any(seconds, {**options, "target_session_attrs": self._session_attributes})
        try:
            async with asyncio.timeout(seconds / 2):
                return await self._connect_to_any(seconds / 2, {**options, "target_session_attrs": "standby"})
        except (OSError, asyncpg.TargetServerAttributeNotMatched):
            return await self._connect_to_any(seconds / 2, {**options, "target_session_attrs": "any"})

    async def _connect_to_any(self, seconds: float, options: dict[str, Any]) -> Connection:
        attempts = [partial(self._connect_to_host, host, seconds, options) for host in self.hosts]
        return await first_connection(attempts, within_seconds=seconds)

    async def _connect_to_host(self, host: Host, seconds: float, options: dict[str, Any]) -> Connection:
        options = {**options, "password": self.password or self._password_in_file(host)}
        if host.is_socket:
            return await self._open(host, host.address, {**options, "ssl": False})
        attempts = [
            partial(self._connect_to_address, host, address, options)
            for address in await addresses(host.address, host.port)
        ]
        return await first_connection(attempts, within_seconds=seconds)

    async def _connect_to_address(self, host: Host, address: str, options: dict[str, Any]) -> Connection:
        first, *others = _tls_in_order(self.sslmode, self.contexts.get(host.name))
        try:
            return await self._open(host, address, {**options, "ssl": first})
        except (OSError, asyncpg.PostgresError) as error:
            if not others or not _may_be_about_tls(error):
                raise
            return await self._open(host, address, {**options, "ssl": others[0]})

    async def _open(self, host: Host, address: str, options: dict[str, Any]) -> Connection:
        ssl_options = {"direct_tls": self.direct_tls and bool(options["ssl"])}
        settings = {"server_settings": self.server_settings, "timeout": None}
        who = {"user": self.user, "database": self.database}
        connection: Connection = await asyncpg.connect(
            **{"host": [address], "port": host.port, **who, **ssl_options, **settings, **options}
        )
        return connection

    def _password_in_file(self, host: Host) -> str:
        found = self._passfile and find_password(self._passfile, host, database=self.database, user=self.user)
        return found or ""


def _tls_in_order(mode: str, context: ssl.SSLContext | None) -> list[ssl.SSLContext | Literal[False]]:
    """The TLS settings to try one after the other. False means a connection without TLS."""
    if context is None:
        return [False]
    orders: dict[str, list[ssl.SSLContext | Literal[False]]] = {"allow": [False, context], "prefer": [context, False]}
    return orders.get(mode, [context])


def _may_be_about_tls(error: Exception) -> bool:
    """Whether the server may accept the connection if TLS is switched on or off."""
    if isinstance(error, asyncpg.InvalidPasswordError | ConnectionRefusedError):
        return False
    # PgBouncer asks for TLS with a ProtocolViolationError.
    about_tls = (ConnectionError, ssl.SSLError, asyncpg.InvalidAuthorizationSpecificationError)
    return isinstance(error, (*about_tls, asyncpg.ProtocolViolationError))


def _notice_loss(connection: Connection) -> None:
    """Let the system notice soon that the server is gone. By default, this takes a quarter of an hour."""
    peer = cast("Any", connection)._transport.get_extra_info("socket")
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _is_pooler(host: Host) -> bool:
    """Whether the name or the port shows that this is a pooler.

    Neon's pooled hosts are called `…-pooler.…`, Supabase's `….pooler.…`. PgBouncer's usual port is 6432.
    """
    return "-pooler." in host.name or ".pooler." in host.name or host.port == _PGBOUNCER_PORT
