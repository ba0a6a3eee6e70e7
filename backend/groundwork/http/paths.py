"""Paths whose segments may hold any text.

The identity provider decides what a user's id looks like. It may contain `/`, which a client sends as `%2F`. Starlette
matches the decoded path, in which `%2F` looks like a separator: `/api/a%2Ftasks%2F…` would be the same path as
`/api/a/tasks/…`. Such a request could get past a proxy that checks the user's segment. Here the two paths differ.
"""

import re
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.types import Scope

from groundwork.errors import Invalid

HEALTH_PREFIX = "/health/"
"""Where the service answers probes. They are never traced, nor refused when the service is overloaded."""

# Replaces an encoded slash until the route is found. No decoded path contains a lone surrogate.
_SLASH = "\udc2f"
# The characters that a path may contain besides letters, digits and `-._~` (RFC 3986, 3.3).
_SAFE = "/:@!$&'()*+,;=~"
_has_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_needs_no_quoting = re.compile(rb"[A-Za-z0-9/._~-]*").fullmatch
_is_unreserved = re.compile(rb"[A-Za-z0-9._~-]").fullmatch
_replace_escapes = re.compile(rb"%[0-9A-Fa-f]{2}").sub


class SegmentConvertor(Convertor[str]):
    """`{name:segment}` in a route's path: one segment, which may be empty and may contain encoded slashes."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return value.replace(_SLASH, "/")

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("segment", SegmentConvertor())


def decode_path(scope: Scope) -> None:
    """Decode `raw_path` into `path` again, because the server's decoding merges different paths.

    Raises:
        Invalid: the path is not UTF-8, or a `%` is not followed by two hexadecimal digits. The paths of different users
            could be the same otherwise, as with `%zz` and `%25zz`.
    """
    raw: bytes = scope["raw_path"]
    if _has_bad_escape(raw):
        msg = "Each % must be followed by two hexadecimal digits; write %25 for a % itself"
        raise Invalid.at("path", msg=msg, type="invalid_percent_encoding")
    text = raw.decode("ascii")
    try:
        scope["path"] = "/".join(unquote(segment, errors="strict").replace("/", _SLASH) for segment in text.split("/"))
    except UnicodeDecodeError:
        raise Invalid.at("path", msg="The path is not valid UTF-8", type="invalid_utf8") from None


def route_path(scope: Scope) -> str:
    """The path without the root path. Routes match it."""
    path: str = scope["path"]
    root_path = scope.get("root_path")
    return path.removeprefix(root_path) if root_path and path.startswith(f"{root_path}/") else path


def is_health_check(scope: Scope) -> bool:
    """Whether the request asks for the service's health."""
    return route_path(scope).startswith(HEALTH_PREFIX)


def raw_path(scope: Scope) -> bytes:
    """The path as the client sent it, or an equivalent one if the server gives no `raw_path`."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"], safe=_SAFE).encode() if raw is None else raw


def request_path(request: Request) -> str:
    """The path as the client sent it, quoted for a `Link` or `Location` header."""
    raw = raw_path(request.scope)
    return raw.decode("ascii") if _needs_no_quoting(raw) else quote(raw, safe=f"%{_SAFE}")


def normal_uri(uri: bytes) -> bytes:
    """The normal form of a URI (RFC 3986, 6.2.2): `%2f` becomes `%2F`, and `%61` becomes `a`."""
    return _replace_escapes(_normal_escape, uri) if b"%" in uri else uri


def _normal_escape(escape: re.Match[bytes]) -> bytes:
    character = bytes.fromhex(escape[0][1:].decode("ascii"))
    return character if _is_unreserved(character) else escape[0].upper()
