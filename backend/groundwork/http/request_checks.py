"""Checks before routing for requests with an `Idempotency-Key` or an encoded body."""

from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from groundwork.errors import Invalid, UnsupportedEncoding
from groundwork.http.idempotency import HEADER, get_key
from groundwork.http.protected_routes import functions_of
from groundwork.http.routes_snapshot import RoutesSnapshot

_SAFE = ("GET", "HEAD", "OPTIONS")
_NO_KEY = (
    "This operation takes no Idempotency-Key; send the request without it. PUT and DELETE may be repeated as they are."
    " Elsewhere send If-Match: a retry of a request that took effect is then answered with 412 and changes nothing."
)


def require_no_encoding(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Refuse a compressed body (RFC 9110, 8.4 and 15.5.16). Decompressing it would need a second size limit.

    Raises:
        UnsupportedEncoding: the request has a body with a content coding other than `identity`.
    """
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return
    fields = b",".join(value for name, value in scope["headers"] if name == b"content-encoding")
    if any(coding.strip().lower() not in (b"", b"identity") for coding in fields.split(b",")):
        raise UnsupportedEncoding


class KeyCheck:
    """Refuses a key that the operation would ignore, because the client relies on the key.

    Requests with a safe method pass, because repeating them is harmless, and some clients add a key to every request.
    """

    def __init__(self) -> None:
        self._snapshot = RoutesSnapshot(None)
        self._operations: list[tuple[Any, bool]] = []  # FastAPI's context of each route, and whether it takes a key
        self._refusing: set[str] = set()  # the methods of operations that take no key

    def require_key_taken(self, scope: Scope) -> None:
        """Check a request that has a key.

        Raises:
            Invalid: the operation takes no `Idempotency-Key`.
        """
        method = scope["method"]
        if method in _SAFE:
            return
        if not self._snapshot.is_current():
            router = scope["app"].router
            self._snapshot = RoutesSnapshot(router)
            self._operations = [(each, _handles_key(each)) for each in iter_route_contexts(router.routes)]
            refusing = [route.methods or () for route, takes_key in self._operations if not takes_key]
            self._refusing = set().union(*refusing)
        if method not in self._refusing:
            return
        for route, takes_key in self._operations:
            if (not route.methods or method in route.methods) and route.matches(scope)[0] is Match.FULL:
                if not takes_key:
                    raise Invalid.at("header", HEADER, msg=_NO_KEY, type="idempotency_key_not_taken")
                return


def _handles_key(context: Any) -> bool:
    # A mounted application has no `dependant`. It handles keys itself.
    dependant = getattr(context, "dependant", None)
    return dependant is None or any(map(_takes_key, functions_of(dependant)))


def _takes_key(function: Any) -> bool:
    return function.call is get_key or any(field.alias.lower() == HEADER.lower() for field in function.header_params)
