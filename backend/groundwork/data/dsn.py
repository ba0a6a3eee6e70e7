"""Reads a PostgreSQL URL as libpq does (PostgreSQL manual, section 34.1).

A parameter in the query of the URL overrides the same parameter before the query. Parameters that the URL leaves out
are taken from libpq's `PG…` environment variables. PGSERVICE and service files are not read. Unknown parameters and
SQLAlchemy's scheme `postgresql+asyncpg` are accepted, although libpq refuses them, because providers print them.
"""

import os
import pwd
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

EXAMPLE = "postgresql://user:password@host:5432/database"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")

_SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
_NAMES = """
host hostaddr port user password passfile options target_session_attrs sslmode sslrootcert sslcert sslkey sslcrl
sslcrldir sslnegotiation sslcertmode sslsni sslcompression ssl_min_protocol_version ssl_max_protocol_version gssencmode
requirepeer requiressl require_auth
"""
_VARIABLES = {
    **{name: "PG" + name.replace("_", "").upper() for name in _NAMES.split()},
    "dbname": "PGDATABASE",
    "application_name": "PGAPPNAME",
}
# Parameters that protect the connection or say whom to trust. If one of them is not supported, it is an error. The
# values below are exceptions, because they demand nothing.
_DEMANDS = re.compile(r"ssl|tls|gssenc|require", re.IGNORECASE)
_DEMANDS_NOTHING = {
    "sslsni": ("", "1"), "sslcompression": ("", "0"), "sslcertmode": ("", "allow"), "requiressl": ("", "0"),
    "gssencmode": ("", "disable", "prefer"), "requirepeer": ("",), "require_auth": ("",),
}  # fmt: skip
_TAKEN = {*_VARIABLES, "sslpassword"} - _DEMANDS_NOTHING.keys()
# The folder of the server's socket is fixed when libpq is built. Here the usual folders are tried.
_DEFAULT_HOSTS = ("/run/postgresql", "/var/run/postgresql", "/tmp", "/private/tmp", "localhost")  # noqa: S108
_DEFAULT_PORT = "5432"


class Host(NamedTuple):
    """One address to try."""

    name: str
    """The host's name for certificates and the password file, or the folder of the server's socket."""
    address: str
    """What to connect to: the name, or the IP address in the URL's `hostaddr`."""
    port: int

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return self.address.startswith("/")


class Parameters:
    """The parameters of a URL and of the environment, by libpq's names.

    Raises:
        ValueError: a parameter that protects the connection is not supported.
    """

    def __init__(self, given: dict[str, str]) -> None:
        self._given = {key: value for key, value in given.items() if key in _TAKEN}
        variables = {key: os.environ.get(name) for key, name in _VARIABLES.items()}
        self._environment = {key: value for key, value in variables.items() if value and key not in given}
        for key, value in {**self._environment, **given}.items():
            if _DEMANDS.match(key) and key not in _TAKEN and value not in _DEMANDS_NOTHING.get(key, ()):
                raise ValueError(f"{self.label(key)} is not supported: leave it out; sslmode says what to verify")
        self.ignored = sorted(key for key in given.keys() - _TAKEN if not _DEMANDS.match(key))
        """The names of the URL's parameters that have no effect."""

    def get(self, key: str) -> str | None:
        """The value, or None if neither the URL nor the environment has it. An empty value in the URL is a value."""
        return self._given.get(key, self._environment.get(key))

    def label(self, key: str) -> str:
        """The name of the parameter or of the environment variable that holds the value, for a message."""
        return _VARIABLES[key] if key in self._environment else key

    def one_of(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """The value, or the default if there is none.

        Raises:
            ValueError: the value is none of the choices.
        """
        value = self.get(key)
        if value is not None and value not in choices:
            raise ValueError(f"{self.label(key)} must be one of {', '.join(choices)}")
        return default if value is None else value

    def file(self, key: str) -> str | None:
        """The path of a file, or None if none is named.

        Raises:
            ValueError: the file cannot be read.
        """
        path = self.get(key)
        if path:
            try:
                Path(path).open("rb").close()
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "no path"
                raise ValueError(
                    f"{self.label(key)}: {path!r} cannot be read: {reason}; name a file that can be"
                ) from None
        return path or None


def read_url(url: str) -> Parameters:
    """The parameters of a URL.

    Raises:
        ValueError: the message says what is wrong. It never holds the URL, which holds a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"must be a PostgreSQL URL such as {EXAMPLE}")
    # libpq looks for the first '@' before the first '/', so that a password may hold '?' and '#'.
    user_info = re.match(r"([^:@/]*)(?::([^@/]*))?@", rest)
    before_query, _, query = rest[user_info.end() if user_info else 0 :].partition("?")
    hosts, _, database = before_query.partition("/")
    if "@" in hosts or ("@" in database and not user_info):
        raise ValueError("has a second '@', or a '/' before it: in a password they must be percent-encoded (%40, %2F)")
    names, ports = _split_hosts(hosts)
    user, password = user_info.groups() if user_info else (None, None)
    stated = {"user": user, "password": password, "host": names, "port": ports, "dbname": database}
    given = {key: _decode(value) for key, value in stated.items() if value}
    return Parameters({**given, **_read_query(query)})


def read_hosts(parameters: Parameters) -> list[Host]:
    """The addresses to try, in this order.

    Raises:
        ValueError: a host or a port cannot be read, or the lists of them differ in length.
    """
    names, addresses, ports = ((parameters.get(key) or "").split(",") for key in ("host", "hostaddr", "port"))
    count = max(len(names), len(addresses))
    names, addresses = (each * count if each == [""] else each for each in (names, addresses))
    ports = ports * count if len(ports) == 1 else ports
    if not len(names) == len(addresses) == len(ports):
        raise ValueError(
            "has lists of hosts, addresses and ports that differ in length: give as many of each, or one port for all"
        )
    return [
        host
        for name, address, port in zip(names, addresses, ports, strict=True)
        for host in _hosts(name, address, _port(port))
    ]


def user_of(parameters: Parameters) -> str:
    """The user to connect as: from the URL, from PGUSER, or else the user that the process runs as.

    Raises:
        ValueError: there is no name.
    """
    user = parameters.get("user")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name if user is None else user
    except KeyError:
        user = ""
    if not user:
        raise ValueError(f"names no user; expected {EXAMPLE}")
    return user


def _split_hosts(hosts: str) -> tuple[str, str]:
    """The names and the ports, each as a list with commas."""
    parts = [re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(.*))?", host) for host in hosts.split(",")]
    if not all(parts):
        raise _unreadable_host()
    found = [part.groups("") for part in parts if part]
    return ",".join(literal or name for literal, name, _ in found), ",".join(port for _, _, port in found)


def _read_query(query: str) -> dict[str, str]:
    parameters = {}
    for part in filter(None, query.split("&")):
        key, separator, value = part.partition("=")
        if not separator:
            raise ValueError("has a parameter without '=' after its '?': write name=value, with & between two")
        key, value = _decode(key), _decode(value)
        if key == "ssl":
            key, value = "sslmode", _mode_of_ssl(value)
        parameters["dbname" if key == "database" else key] = value
    return parameters


def _mode_of_ssl(value: str) -> str:
    """The `sslmode` that `ssl` means. libpq accepts JDBC's `ssl=true`; SQLAlchemy's URLs have a mode in `ssl`."""
    if value == "true":
        return "require"
    if value not in SSL_MODES:
        raise ValueError("ssl must be true; for anything else, write sslmode=disable, require or verify-full")
    return value


def _decode(text: str) -> str:
    """Decode percent-encoded characters as libpq does: '+' stays a plus sign."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text) or "%00" in text:
        raise ValueError("has a '%' that does not begin a percent-encoded character: write %25 for the sign itself")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(
            "has percent-encoded bytes that are not UTF-8: write each character as its UTF-8 bytes, as %C3%BC for ü"
        ) from None


def _hosts(name: str, address: str, port: int) -> list[Host]:
    if not name and not address:
        return [Host(default, default, port) for default in _DEFAULT_HOSTS]
    host = Host(name or address, address or name, port)
    if not host.is_socket:
        _require_readable(host.name)
        _require_readable(host.address)
    return [host]


def _require_readable(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise _unreadable_host() from None
    if re.search(r"[\s@]", host):
        raise _unreadable_host()


def _port(text: str) -> int:
    text = text.strip() or _DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:  # noqa: PLR2004
        raise _unreadable_host()
    return int(text)


def _unreadable_host() -> ValueError:
    return ValueError(f"has a host or port that cannot be read; expected {EXAMPLE}")
