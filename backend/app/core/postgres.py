"""From a PostgreSQL URL, as hosting providers print it, to an asyncpg connection."""

import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from app.core.address import AddressKind, address_kind
from app.core.pool import Connection
from app.core.prepared_names import NamingConnection

logger = logging.getLogger(__name__)

Inspect = Callable[[Connection], Awaitable[None]]

# Not every system has every option. Probes to an idle peer also keep firewalls from forgetting the connection.
_TCP_OPTIONS = {
    "TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15,  # seconds; the second is macOS's name of the first
    "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 5000,  # milliseconds without a sign that what was sent has arrived
}  # fmt: skip
_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
_EXAMPLE = "postgresql://user:password@host:5432/database"
# What asyncpg reads from a URL, and the two server settings that belong in one. asyncpg would send every other key to
# the server as a setting, which PostgreSQL refuses when it does not know it, and poolers refuse always.
_KNOWN_KEYS = {
    "host", "port", "dbname", "database", "user", "password", "passfile",
    "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
    "target_session_attrs", "krbsrvname", "gsslib", "application_name", "options",
}  # fmt: skip
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TRUE_VERIFICATION = ("verify-ca", "verify-full")


class ConnectionTarget(NamedTuple):
    """Where and how to connect. It holds the password: never log it.

    `ignored` names the URL's parameters that have no effect here.
    """

    dsn: str
    ssl: ssl.SSLContext | None
    transaction_pooled: bool
    ignored: list[str]

    async def connect(self, *, timeout_seconds: float, **options: Any) -> Connection:
        """Open a connection, with asyncpg's options.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: no connection.
        """
        if self.ssl:
            options["ssl"] = self.ssl
        connection: Connection = await asyncpg.connect(self.dsn, timeout=timeout_seconds, **options)
        _notice_loss(connection)
        return connection


class Connector:
    """Opens the service's connections to one target.

    A transaction pooler (PgBouncer, Neon's pooled host) gives each transaction another server connection, so prepared
    statements must not be kept there: PgBouncer before 1.21 fails on them, and a kept one can give wrong values after
    a column's type has changed. Some pooled addresses tell by their name. At the others each new connection is asked,
    because the same address can lead to something else later: a proxy fails over, a DNS record changes.

    Args:
        when_direct: called once, with the first connection to the server itself.
    """

    def __init__(self, target: ConnectionTarget, *, timeout_seconds: float, when_direct: Inspect | None = None) -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._when_direct = when_direct
        self._kind = AddressKind.SERVER  # of the connection that was asked last

    async def __call__(self) -> Connection:
        if self._target.transaction_pooled:
            return await self._connect(AddressKind.TRANSACTION_POOLER)
        # Opened for what the last connection led to, so that the question costs a round trip and no second connection.
        for _ in range(2):
            kind = self._kind
            connection = await self._connect(kind)
            if await self._ask(connection) is kind:
                return connection
            await connection.close(timeout=self._timeout_seconds)
        # The address leads now here, now there. To keep no statements is right everywhere.
        return await self._connect(AddressKind.TRANSACTION_POOLER)

    async def _ask(self, connection: Connection) -> AddressKind:
        try:
            kind = await address_kind(connection)
            if kind is AddressKind.SERVER and self._when_direct:
                await self._when_direct(connection)
                self._when_direct = None
        except BaseException:
            connection.terminate()
            raise
        if kind is not self._kind:
            self._kind = kind
            logger.info("DATABASE_URL leads to %s", _MEANING[kind])
        return kind

    async def _connect(self, kind: AddressKind) -> Connection:
        # `command_timeout` bounds what is sent without a timeout of its own: the beginning and end of a transaction.
        return await self._target.connect(
            timeout_seconds=self._timeout_seconds, command_timeout=self._timeout_seconds, **_OPTIONS[kind]
        )


_OPTIONS: dict[AddressKind, dict[str, Any]] = {
    AddressKind.SERVER: {"connection_class": NamingConnection},
    AddressKind.TRANSACTION_POOLER: {"statement_cache_size": 0},
}
_MEANING = {
    AddressKind.SERVER: "PostgreSQL itself: prepared statements are kept",
    AddressKind.TRANSACTION_POOLER: "a transaction pooler: prepared statements are not kept",
}


def _notice_loss(connection: Connection) -> None:
    """Let the system find out that the other side is gone; it would try for a quarter of an hour."""
    peer = cast("Any", connection)._transport.get_extra_info("socket")
    if peer.family == socket.AF_UNIX:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_OPTIONS.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def connection_target(url: str) -> ConnectionTarget:
    """Read a URL as Neon, Supabase, Railway, Heroku and others hand it out.

    Every `sslmode` keeps libpq's meaning (PostgreSQL manual, section 34.18). Where libpq would want a root certificate
    file that is not there, the system's certificates verify the server instead.

    Raises:
        ValueError: a sentence on what is wrong, without the URL, which holds a password.
    """
    parts = _split(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    ignored = sorted(parameters.keys() - _KNOWN_KEYS)
    parameters = {key: value for key, value in parameters.items() if key in _KNOWN_KEYS}
    context = _system_ssl_context(parameters)
    if context:
        parameters = {key: value for key, value in parameters.items() if not key.startswith("ssl")}
    dsn = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(parameters), ""))
    return ConnectionTarget(dsn, context, _is_pooler(parts), ignored)


def _split(url: str) -> SplitResult:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"must be a PostgreSQL URL such as {_EXAMPLE}")
    if "#" in url or url.partition("?")[0].count("@") > 1:
        raise ValueError("has a '#' or a second '@': in a password, such characters must be percent-encoded (%23)")
    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            urlsplit(f"//{host}").port  # noqa: B018 - reading it checks it
    except ValueError:
        raise ValueError(f"has a host or port that cannot be read; expected {_EXAMPLE}") from None
    return parts


def _system_ssl_context(parameters: Mapping[str, str]) -> ssl.SSLContext | None:
    """The context for a verification against the system's certificates; None leaves TLS to asyncpg."""
    root = parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    mode = parameters.get("sslmode") or ("verify-full" if root == "system" else "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"has an unknown sslmode; expected one of {', '.join(_SSL_MODES)}")
    if root == "system" and mode != "verify-full":
        raise ValueError("has sslrootcert=system, which needs sslmode=verify-full")
    if mode not in _TRUE_VERIFICATION or (root and root != "system") or _default_root_certificate().exists():
        return None
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    if certificate := parameters.get("sslcert"):
        context.load_cert_chain(certificate, parameters.get("sslkey"), parameters.get("sslpassword"))
    return context


def _default_root_certificate() -> Path:
    # Unlike Path.expanduser, it does not fail for a user without a home, as in a container.
    return Path(os.path.expanduser("~/.postgresql/root.crt"))  # noqa: PTH111


def _is_pooler(parts: SplitResult) -> bool:
    """Neon's pooled hosts are called `…-pooler.…`, Supabase's `….pooler.…`; PgBouncer's usual port is 6432."""
    host = parts.netloc.rpartition("@")[2]
    return "-pooler." in host or ".pooler." in host or host.endswith(":6432")
