"""Sign-in by tokens, where AUTH_ISSUER is set. `create_app(sign_in=…)` takes another kind in its place."""

from typing import Self

from fastapi import Request

from groundwork.auth.issuer import IssuerKeys
from groundwork.auth.owner import bearer_token
from groundwork.auth.tokens import TokenVerifier
from groundwork.errors import NotFound


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
        user_id = await self._tokens.user_id(bearer_token(request))
        if request.path_params["user_id"] != user_id:
            raise NotFound
