"""Who is asking. The one place that knows how people sign in, and all that is to be replaced for another way.

`main.py` needs two things of it: a context, in which what it needs is open, and a dependency of the request that raises
unless the request may pass. A class of yours with both, say for the session cookies of your own front end or for a
header that a proxy sets, takes this one's place in `main.py`, and nothing else changes. The dependency stays on the
short way (`core.fast_routes`) as long as it is an `async` function of the request alone.
"""

from typing import Self

from fastapi import Request

from groundwork.auth.issuer import IssuerKeys
from groundwork.auth.tokens import TokenVerifier
from groundwork.errors import NotFound, Unauthenticated


class SignIn:
    """Sign-in by bearer tokens (RFC 6750) of one issuer."""

    def __init__(self, *, issuer: str, audience: str, jwks_url: str | None) -> None:
        self._keys = IssuerKeys(issuer, jwks_url)
        self._tokens = TokenVerifier(self._keys, issuer=issuer, audience=audience)

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._keys.__aexit__(*exception)

    async def require_owner(self, request: Request) -> None:
        """Let only the path's user pass.

        Raises:
            Unauthenticated: nobody knows who is asking.
            NotFound: another user, for whom nothing is here, whatever there is.
            Unavailable: the issuer's keys are not known.
        """
        user_id = await self._tokens.user_id(_bearer_token(request))
        if request.path_params["user_id"] != user_id:
            raise NotFound


def _bearer_token(request: Request) -> bytes:
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    # Of two, a proxy may have looked at the other one.
    if len(given) != 1:
        raise Unauthenticated
    scheme, _, token = given[0].partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated
    return bytes(token.strip(b" "))
