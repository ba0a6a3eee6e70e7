"""Reads passwords from libpq's password file (PostgreSQL manual, section 34.16)."""

import os
import re
import stat
from pathlib import Path

from groundwork.data.dsn import Host, Parameters

# host:port:database:user:password. A backslash before ':' or before another backslash makes it a plain character.
_LINE = re.compile(r"((?:[^\\:]|\\.)*):" * 4 + r"(.*)")


def password_file(parameters: Parameters) -> Path | None:
    """The file that the URL or PGPASSFILE names, or else `~/.pgpass` if it can be used.

    Raises:
        ValueError: the named file cannot be read, or users other than its owner can read it.
    """
    named = parameters.file("passfile")
    path = Path(named or os.path.expanduser("~/.pgpass"))  # noqa: PTH111 - it does not fail without a home
    if named and _is_open_to_others(path):
        raise ValueError(f"{parameters.label('passfile')}: {named!r} can be read by others; run chmod 600 on it")
    return path if named or (os.access(path, os.R_OK) and not _is_open_to_others(path)) else None


def find_password(file: Path, host: Host, *, database: str, user: str) -> str | None:
    """The password in the first line that matches, or None."""
    name = "localhost" if host.is_socket else host.name
    wanted = (name, str(host.port), database, user)
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        fields = _LINE.fullmatch(line)
        if fields and not line.startswith("#"):
            *patterns, password = fields.groups()
            if all(pattern == "*" or _plain(pattern) == value for pattern, value in zip(patterns, wanted, strict=True)):
                return _plain(password)
    return None


def _is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _plain(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)
