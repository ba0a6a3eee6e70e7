"""What the application needs of a sign-in, whatever its kind."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastapi import Request

from groundwork.errors import Unauthenticated


class OwnerCheck(AbstractAsyncContextManager[Any], Protocol):
    """A sign-in of any kind: a context, in which what it needs is open, and a dependency of each request.

    `auth.bearer.SignIn` is the one of tokens. A class of a service's own goes to `create_app(sign_in=…)`. The
    dependency stays on the short way past FastAPI as long as it is an `async` function of the request alone.
    """

    async def require_owner(self, request: Request) -> None:
        """Let only the user of the path (`request.path_params["user_id"]`) pass.

        Raises:
            Unauthenticated: nobody knows who is asking.
            NotFound: another user, for whom nothing is here, whatever there is.
        """


def bearer_token(request: Request) -> bytes:
    """What stands behind `Bearer` in the request's `Authorization`.

    Raises:
        Unauthenticated: there is none, or more than one.
    """
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    # Of two, a proxy may have looked at the other one.
    if len(given) != 1:
        raise Unauthenticated
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated
    return bytes(token.strip(b" "))
