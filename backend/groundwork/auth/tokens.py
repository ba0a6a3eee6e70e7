"""Verifying bearer tokens: JWTs (RFC 7519) as access tokens, by the profile of RFC 9068 as far as issuers follow it."""

import json
import time
from hashlib import sha256
from typing import Any, NamedTuple

from joserfc.errors import ClaimError, JoseError, MissingClaimError
from joserfc.jwa import EdDSAAlgorithm, ESAlgorithm, RSAAlgorithm
from joserfc.jwk import Key
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact
from joserfc.jwt import JWTClaimsRegistry
from pydantic import TypeAdapter, ValidationError

from groundwork.auth.issuer import IssuerKeys, KeySet
from groundwork.errors import InvalidToken
from groundwork.text import UserIdText

TOKEN_LIMIT_BYTES = 8 * 1024
CLOCK_SKEW_SECONDS = 30
"""How far the issuer's clock and this one may be apart."""
CACHE_LIMIT = 10_000
"""Tokens whose verification is remembered, in each worker: about 3 MB."""

# Some issuers send no type. Logout tokens, DPoP proofs and the like, which are no access tokens, have others.
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
# RFC 7515, 4.1.11, and RFC 7797: an extension that is not understood; and none is.
_EXTENSIONS = ("crit", "b64")
_MALFORMED = "The token is not a signed JWT."
_CLAIMS = {
    "iss": "The token is of another issuer.",
    "aud": "The token is for another audience.",
    "exp": "The token has expired.",
    "nbf": "The token is not valid yet.",
    "iat": "The token was issued in the future.",
    "sub": "The token's sub cannot be a user's id.",
}
# What the library raises at what is no token: not all of it is its own.
_NOT_A_TOKEN = (JoseError, ValueError, TypeError, RecursionError)
_user_id: TypeAdapter[str] = TypeAdapter(UserIdText)


class _EdDSA(EdDSAAlgorithm):
    # The library would warn at each token: RFC 9864 gives the algorithm another name, and most issuers use this one.
    security_warning = ""


def _registry() -> JWSRegistry:
    """The algorithms that there are. `none`, and HMAC, whose key would be the public one, do not exist here."""
    known = [RSAAlgorithm(256), ESAlgorithm("ES256", "P-256", 256), _EdDSA(), JWSRegistry.algorithms["Ed25519"]]
    # Members of the header that are not known are ignored (RFC 7515, 4).
    registry = JWSRegistry(algorithms=[each.name for each in known], strict_check_header=False)
    registry.algorithms = {each.name: each for each in known}
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = TOKEN_LIMIT_BYTES
    return registry


_REGISTRY = _registry()


class _Verified(NamedTuple):
    user_id: str
    until: float
    """Unix time, in seconds."""


class TokenVerifier:
    """Says whose tokens are.

    What has been verified is remembered until the token expires or the issuer's keys change: a signature costs as much
    as half a request. It is remembered under the token's hash, so that nobody finds tokens in this process's memory.

    Args:
        keys: of the issuer.
        issuer: what `iss` must be.
        audience: what `aud` must be or hold.
    """

    def __init__(self, keys: IssuerKeys, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._claims = JWTClaimsRegistry(
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._verified: dict[bytes, _Verified] = {}
        self._verified_by: KeySet | None = None

    async def user_id(self, token: bytes) -> str:
        """The user whom the token speaks for.

        Raises:
            InvalidToken: it speaks for nobody.
            Unavailable: the issuer's keys are not known.
        """
        if len(token) > TOKEN_LIMIT_BYTES:
            raise InvalidToken(f"The token is larger than {TOKEN_LIMIT_BYTES} bytes.")
        hash_ = sha256(token).digest()
        verified = self._remembered().get(hash_)
        if verified is None or verified.until <= time.time():
            signature = _parse(token)
            key = await self._key_of(signature)
            # Nothing is awaited from here on, so that what is remembered was verified by the keys that are known.
            verified = self._verify(signature, key)
            self._remember(hash_, verified)
        return verified.user_id

    def _remembered(self) -> dict[bytes, _Verified]:
        if self._verified_by is not self._keys.known:
            # A key may be gone; and with it goes the trust in what it signed.
            self._verified_by, self._verified = self._keys.known, {}
        return self._verified

    def _remember(self, hash_: bytes, verified: _Verified) -> None:
        remembered = self._remembered()
        if len(remembered) >= CACHE_LIMIT:
            del remembered[next(iter(remembered))]
        remembered[hash_] = verified

    async def _key_of(self, signature: CompactSignature) -> Key:
        header = signature.protected
        keys = await self._keys.get()
        key = keys.find(header["alg"], header.get("kid"))
        if key is None:
            keys = await self._keys.get(newer=True)
            key = keys.find(header["alg"], header.get("kid"))
        if key is None:
            raise InvalidToken("The token is not signed by a key of the issuer.")
        return key

    def _verify(self, signature: CompactSignature, key: Key) -> _Verified:
        try:
            valid = validate_compact(signature, key, registry=_REGISTRY)
        except _NOT_A_TOKEN:
            valid = False
        if not valid:
            raise InvalidToken("The token's signature is not valid.")
        claims = _json_object(signature.payload)
        try:
            self._claims.validate(claims)
            user_id = _user_id.validate_python(claims["sub"])
        except ClaimError as error:
            raise InvalidToken(_describe(error)) from None
        except ValidationError:
            raise InvalidToken(_CLAIMS["sub"]) from None
        return _Verified(user_id, claims["exp"] + CLOCK_SKEW_SECONDS)


def _parse(token: bytes) -> CompactSignature:
    """A token whose signature can be looked at: by its form and its header it may be an access token."""
    try:
        signature = extract_compact(token, registry=_REGISTRY)
    except _NOT_A_TOKEN:
        raise InvalidToken(_MALFORMED) from None
    header: Any = signature.protected
    if not isinstance(header, dict):
        raise InvalidToken(_MALFORMED)
    algorithm, key_id, type_ = header["alg"], header.get("kid"), header.get("typ", "jwt")
    if not (isinstance(algorithm, str) and isinstance(key_id, str | None) and isinstance(type_, str)):
        raise InvalidToken(_MALFORMED)
    if algorithm not in _REGISTRY.algorithms:
        raise InvalidToken("The token is not signed by an algorithm that is accepted.")
    if any(name in header for name in _EXTENSIONS):
        raise InvalidToken("The token needs an extension that is not supported.")
    if type_.lower() not in _TYPES:
        raise InvalidToken("The token is not an access token.")
    return signature


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise InvalidToken(_MALFORMED)
    return claims


def _describe(error: ClaimError) -> str:
    if isinstance(error, MissingClaimError):
        return f"The token lacks {error.claim}."
    return _CLAIMS.get(error.claim, _MALFORMED)
