"""Paths whose segments may hold any text.

A user's id is whatever the caller's identity provider says: it can hold `/`, which a client sends as `%2F`, and a
segment can be empty. Starlette matches the decoded path, where `%2F` looks like a separator; left alone,
`/api/a%2Ftasks%2F…` would reach what `/api/a/tasks/…` names, past a proxy that checked the first segment.
"""

import re
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.types import Scope

from groundwork.errors import Invalid

HEALTH_PREFIX = "/health/"
"""Where the service answers probes. They are never traced, nor refused when the service is overloaded."""

# No decoded path holds a lone surrogate, so it can stand for an encoded slash until the route is found.
_SLASH = "\udc2f"
# What may stand in a path beside letters, digits and `-._~` (RFC 3986, 3.3).
_SAFE = "/:@!$&'()*+,;=~"
_has_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_is_safe_as_it_is = re.compile(rb"[A-Za-z0-9/._~-]*").fullmatch
_is_unreserved = re.compile(rb"[A-Za-z0-9._~-]").fullmatch
_replace_escapes = re.compile(rb"%[0-9A-Fa-f]{2}").sub


class SegmentConvertor(Convertor[str]):
    """`{name:segment}` in a route's path: one segment, empty or not, with its encoded slashes."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return value.replace(_SLASH, "/")

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


register_url_convertor("segment", SegmentConvertor())


def decode_path(scope: Scope) -> None:
    """Decode the request's path again where the server's decoding loses something.

    Raises:
        Invalid: the path's bytes are not UTF-8; the server replaces such bytes, which would merge distinct users. Or a
            `%` is not followed by two hexadecimal digits: taken as it is, `%zz` and `%25zz` would be one user.
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
    """The path that routes are made for: without the root path, below which a proxy serves this service."""
    path: str = scope["path"]
    root_path = scope.get("root_path")
    return path.removeprefix(root_path) if root_path and path.startswith(f"{root_path}/") else path


def is_health_check(scope: Scope) -> bool:
    """Whether the request asks for the service's health."""
    return route_path(scope).startswith(HEALTH_PREFIX)


def raw_path(scope: Scope) -> bytes:
    """The path as the client sent it, or one that means the same: ASGI leaves it to the server whether it is told."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"], safe=_SAFE).encode() if raw is None else raw


def request_path(request: Request) -> str:
    """The path as the client sent it, fit to stand in a `Link` or `Location` header."""
    raw = raw_path(request.scope)
    return raw.decode("ascii") if _is_safe_as_it_is(raw) else quote(raw, safe=f"%{_SAFE}")


def normal_uri(uri: bytes) -> bytes:
    """One form of equivalent URIs (RFC 3986, 6.2.2): `%2f` is `%2F`, and `%61` is `a`."""
    return _replace_escapes(_normal_escape, uri) if b"%" in uri else uri


def _normal_escape(escape: re.Match[bytes]) -> bytes:
    character = bytes.fromhex(escape[0][1:].decode("ascii"))
    return character if _is_unreserved(character) else escape[0].upper()
