"""Checks a request's head for the rules of RFC 9110 and 9112 that the parser does not check.

The parser (llhttp) refuses most malformed heads by itself. The others are refused here, before the application sees
anything of the request.
"""

import re
from functools import lru_cache
from http import HTTPStatus

import httptools

from groundwork.observe.metrics import METHODS

Headers = list[tuple[bytes, bytes]]

_BLANKS = b" \t"
_VERSIONS = ("1.1", "1.0")
CHECKED = frozenset({b"host", b"transfer-encoding", b"expect"})
"""Names, in lower case, of the headers that `check` takes. The connection collects them as they arrive."""
# Each byte can be matched in one way only, so that the time is linear in the length.
_NAME = rb"[0-9A-Za-z._~!$&'()*+,;=-]*"
_HOST = rb"(?:\[[0-9A-Za-z:._~!$&'()*+,;=-]+\]|%b(?:%%[0-9A-Fa-f]{2}%b)*)(?::[0-9]*)?" % (_NAME, _NAME)  # RFC 3986, 3.2
# Nearly all requests name one of a few hosts, so a small cache is enough.
_is_host = lru_cache(64)(re.compile(_HOST).fullmatch)
_absolute = re.compile(rb"https?://([^/?#]+)((?:[/?][^#]*)?)(?:#.*)?", re.IGNORECASE).fullmatch
_request_line = re.compile(rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+) [!-~]+ HTTP/1\.[01]\r\n").match

NOT_HTTP = (HTTPStatus.BAD_REQUEST, "The request is not valid HTTP.")
_VERSION = (HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "This version of HTTP is not supported; use HTTP/1.1.")
_METHOD = (HTTPStatus.NOT_IMPLEMENTED, "This service does not know the request's method.")
_ONE_HOST = (HTTPStatus.BAD_REQUEST, "The request must have exactly one Host header.")
_BAD_HOST = (HTTPStatus.BAD_REQUEST, "The Host header is not a host name or address with an optional port.")
_BAD_TARGET = (HTTPStatus.BAD_REQUEST, "The request's target is neither a path nor an http or https URL.")
_NOT_CHUNKED = (HTTPStatus.BAD_REQUEST, "Transfer-Encoding must name chunked once, at its end; HTTP/1.0 has none.")
_CODING = (HTTPStatus.NOT_IMPLEMENTED, "This service knows no transfer coding but chunked.")
# The parser's names for unknown versions and for the beginning of HTTP/2.
_VERSION_ERRORS = ("Invalid HTTP version", "Pause on PRI/Upgrade")


class Refused(Exception):
    """Raised in a callback of the parser, which then stops. The arguments are the status and the detail."""


def check(version: str, checked: Headers) -> bool:
    """Check the version and the headers that say where the request goes and where its body ends.

    Args:
        checked: the headers whose names are in `CHECKED`, with the values that the parser gave.

    Returns:
        Whether the client waits for 100 Continue, which HTTP/1.0 does not have (RFC 9110, 10.1.1).

    Raises:
        Refused: one of them is wrong.
    """
    if version == "1.1" and len(checked) == 1 and checked[0][0] == b"host" and _is_host(checked[0][1]):
        return False  # nearly every request
    if version not in _VERSIONS:
        raise Refused(*_VERSION)
    hosts, codings, expects = 0, [], False
    for name, value in checked:
        if name == b"host":
            hosts += 1
            if not _is_host(value.rstrip(_BLANKS)):
                raise Refused(*_BAD_HOST)
        elif name == b"expect":
            expects = expects or (value.rstrip(_BLANKS).lower() == b"100-continue" and version != "1.0")
        else:
            codings.append(value)
    if hosts != 1 and (hosts or version != "1.0"):
        raise Refused(*_ONE_HOST)
    if codings:
        _check_codings(version, b",".join(codings))
    return expects


def _check_codings(version: str, value: bytes) -> None:
    """Check Transfer-Encoding (RFC 9112, 6.1 and 6.3).

    Only spaces are stripped, so that tabs are refused here. The parser would refuse them only after the head.
    """
    *others, last = [coding.strip(b" ").lower() for coding in value.split(b",")]
    if last != b"chunked" or not all(others) or b"chunked" in others or version == "1.0":
        raise Refused(*_NOT_CHUNKED)
    if others:
        raise Refused(*_CODING)


def origin_form(target: bytes, method: bytes, headers: Headers) -> bytes:
    """The path and query of a target that does not begin with a slash (RFC 9112, 3.2).

    The host of an absolute URL replaces that of the Host header. `OPTIONS *` stays as it is.

    Raises:
        Refused: the target has no known form.
    """
    if target == b"*" and method == b"OPTIONS":
        return target
    url = _absolute(target)
    if url is None or not _is_host(url[1]) or url[1].startswith(b":"):
        raise Refused(*_BAD_TARGET)
    headers[:] = [(name, url[1] if name == b"host" else value) for name, value in headers]
    path_and_query: bytes = url[2]
    return path_and_query if path_and_query.startswith(b"/") else b"/" + path_and_query


def refuse_connect(method: bytes) -> None:
    """Refuse the method CONNECT, which is for proxies."""
    if method == b"CONNECT":
        raise Refused(*_METHOD)


def refusal(error: httptools.HttpParserError, data: bytes) -> tuple[HTTPStatus, str]:
    """The status and detail for an error that the parser, or a check in its callbacks, raised for `data`."""
    cause = error.__context__
    if isinstance(cause, Refused):
        status, detail = cause.args
        return status, detail
    if error.args[0] in _VERSION_ERRORS:
        return _VERSION
    # The parser raises the same error for data that is not HTTP. Good requests may stand before it in the data.
    line = _request_line(data) if isinstance(error, httptools.HttpParserInvalidMethodError) else None
    if line and line[1].decode("ascii") not in METHODS:
        return _METHOD
    return NOT_HTTP
