"""The interface of a sign-in of any kind, as the application needs it."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from fastapi import Request
from fastapi.requests import HTTPConnection

from groundwork.errors import Unauthenticated

VALID_UNTIL = "app.sign_in_valid_until"
"""The key of the scope under which a sign-in stores when it expires, in Unix seconds. A stream ends then, too."""


class OwnerCheck(AbstractAsyncContextManager[Any], Protocol):
    """A sign-in of any kind: an async context manager that is open while the service serves, and a dependency.

    `auth.bearer.SignIn` is the sign-in with tokens. `create_app(sign_in=…)` also takes a class of your own, for example
    for session cookies or for a header that a proxy sets. Requests still take the fast routes (`fast.fast_routes`) if
    the dependency is an `async` function whose only parameter is the request. Where WebSockets need it too, the
    parameter is an `HTTPConnection`, of which `Request` is a kind.
    """

    async def require_owner(self, request: Request) -> None:
        """Let a request pass only if it comes from the user in the path, `request.path_params["user_id"]`.

        Raises:
            Unauthenticated: the request does not show who sends it.
            NotFound: another user sends it.
        """


@runtime_checkable
class RoleCheck(Protocol):
    """A sign-in that also knows the roles of users. Routes for staff need one."""

    async def require_role(self, request: Request, role: str) -> None:
        """Let a request pass only if its sender has the role.

        Raises:
            Unauthenticated: the request does not show who sends it.
            Forbidden: the sender lacks the role.
        """


def bearer_token(request: HTTPConnection) -> bytes:
    """The bearer token in the request's `Authorization` header.

    Raises:
        Unauthenticated: there is no bearer token, or more than one `Authorization` header.
    """
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    # With two headers, a proxy may have checked the other one.
    if len(given) != 1:
        raise Unauthenticated
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated
    return bytes(token.strip(b" "))
