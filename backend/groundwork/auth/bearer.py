"""Sign-in with bearer tokens. `create_app(sign_in=…)` takes a sign-in of another kind: see `auth.owner`."""

from typing import Self

from fastapi.requests import HTTPConnection

from groundwork.auth.issuer import IssuerKeys
from groundwork.auth.owner import VALID_UNTIL, bearer_token
from groundwork.auth.tokens import TokenVerifier
from groundwork.errors import Forbidden, NotFound


class SignIn:
    """Sign-in with bearer tokens (RFC 6750) of one issuer.

    Args:
        issuer: the issuer's identifier, as in its tokens.
        audience: the audience that tokens must name.
        jwks_url: the address of the issuer's keys. If it is None, it is read from the issuer's metadata.
        roles_claim: the claim with a user's roles, or the path to it, as `realm_access.roles`.
    """

    def __init__(self, *, issuer: str, audience: str, jwks_url: str | None, roles_claim: str = "roles") -> None:
        self._keys = IssuerKeys(issuer, jwks_url)
        self._tokens = TokenVerifier(self._keys, issuer=issuer, audience=audience, roles_claim=roles_claim)

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._keys.__aexit__(*exception)

    async def require_owner(self, request: HTTPConnection) -> None:
        """Let a request pass only if its token belongs to the user in the path.

        Raises:
            Unauthenticated: the request has no token, or more than one `Authorization` header.
            InvalidToken: the token is not valid.
            NotFound: the token is another user's. An answer of 403 would tell that something is there.
            Unavailable: the issuer's keys cannot be fetched.
        """
        verified = await self._tokens.verify(bearer_token(request))
        if request.path_params["user_id"] != verified.user_id:
            raise NotFound
        request.scope[VALID_UNTIL] = verified.until

    async def require_role(self, request: HTTPConnection, role: str) -> None:
        """Let a request pass only if its token has the role.

        Raises:
            Unauthenticated, InvalidToken, Unavailable: as `require_owner`.
            Forbidden: the token is valid and lacks the role.
        """
        verified = await self._tokens.verify(bearer_token(request))
        if role not in verified.roles:
            raise Forbidden(f"This needs the role {role}, which your token does not have.")
        request.scope[VALID_UNTIL] = verified.until
