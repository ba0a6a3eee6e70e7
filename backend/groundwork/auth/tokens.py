"""Verifies bearer tokens: access tokens that are JWTs (RFC 7519) with the profile of RFC 9068.

Rules of RFC 9068 that many issuers break are not enforced. For example, `typ` may be `JWT` or missing.
"""

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
"""The largest difference between the issuer's clock and this one."""
CACHE_LIMIT = 10_000
"""How many verified tokens each worker caches, in about 3 MB."""

# Some issuers send no type. JWTs that are not access tokens, such as logout tokens and DPoP proofs, have other types.
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
# Header members that announce an extension (RFC 7515, 4.1.11, and RFC 7797). No extension is supported.
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
# The errors that the library raises for an invalid token. Not all of them are a JoseError.
_NOT_A_TOKEN = (JoseError, ValueError, TypeError, RecursionError)
_user_id: TypeAdapter[str] = TypeAdapter(UserIdText)


class _EdDSA(EdDSAAlgorithm):
    # RFC 9864 deprecates the name EdDSA, but most issuers use it. The library would warn at each token.
    security_warning = ""


# `none` and HMAC are not accepted. With HMAC, the public key could be used as the secret that signs a token.
_ACCEPTED = [RSAAlgorithm(256), ESAlgorithm("ES256", "P-256", 256), _EdDSA(), JWSRegistry.algorithms["Ed25519"]]
# Unknown members of the header are ignored (RFC 7515, section 4).
_REGISTRY = JWSRegistry(algorithms=[each.name for each in _ACCEPTED], strict_check_header=False)
_REGISTRY.algorithms = {each.name: each for each in _ACCEPTED}
_REGISTRY.max_header_length = _REGISTRY.max_payload_length = _REGISTRY.max_signature_length = TOKEN_LIMIT_BYTES


class Verified(NamedTuple):
    """What a valid token says."""

    user_id: str
    """The claim `sub`."""
    roles: frozenset[str]
    """The claim with the user's roles. It is empty if the token has no such claim."""
    until: float
    """The end of the token's validity, clock skew included, as Unix time in seconds."""


class TokenVerifier:
    """Verifies tokens and says whose they are.

    A verified token is cached until it expires or the issuer's keys change, because verifying a signature costs as much
    as half a request. The cache holds hashes of tokens, so that no tokens can be found in the memory of the process.

    Args:
        keys: the issuer's keys.
        issuer: the value that `iss` must have.
        audience: the value that `aud` must have or contain.
        roles_claim: the claim with the user's roles, or the path to it, as `realm_access.roles`.
    """

    def __init__(self, keys: IssuerKeys, *, issuer: str, audience: str, roles_claim: str = "roles") -> None:
        self._keys = keys
        self._roles_claim = roles_claim
        self._claims = JWTClaimsRegistry(
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._verified: dict[bytes, Verified] = {}
        self._verified_by: KeySet | None = None

    async def verify(self, token: bytes) -> Verified:
        """What the token says.

        Raises:
            InvalidToken: the token is not valid here.
            Unavailable: the issuer's keys cannot be fetched.
        """
        if len(token) > TOKEN_LIMIT_BYTES:
            raise InvalidToken(f"The token is larger than {TOKEN_LIMIT_BYTES} bytes.")
        hash_ = sha256(token).digest()
        verified = self._cached().get(hash_)
        if verified is None or verified.until <= time.time():
            signature = _parse(token)
            key = await self._key_of(signature)
            # Nothing is awaited from here on, so the keys cannot change between the verification and the caching.
            verified = self._verify(signature, key)
            cached = self._cached()
            if len(cached) >= CACHE_LIMIT:
                del cached[next(iter(cached))]
            cached[hash_] = verified
        return verified

    def _cached(self) -> dict[bytes, Verified]:
        if self._verified_by is not self._keys.known:
            # The issuer may have withdrawn the key that signed a cached token.
            self._verified_by, self._verified = self._keys.known, {}
        return self._verified

    async def _key_of(self, signature: CompactSignature) -> Key:
        header = signature.protected
        for newer in (False, True):
            keys = await self._keys.get(newer=newer)
            key = keys.find(header["alg"], header.get("kid"))
            if key is not None:
                return key
        raise InvalidToken("The token is not signed by a key of the issuer.")

    def _verify(self, signature: CompactSignature, key: Key) -> Verified:
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
        except MissingClaimError as error:
            raise InvalidToken(f"The token lacks {error.claim}.") from None
        except ClaimError as error:
            raise InvalidToken(_CLAIMS.get(error.claim, _MALFORMED)) from None
        except ValidationError:
            raise InvalidToken(_CLAIMS["sub"]) from None
        return Verified(user_id, _roles(claims, self._roles_claim), claims["exp"] + CLOCK_SKEW_SECONDS)


def _parse(token: bytes) -> CompactSignature:
    """The parts of a token. Its form and its header are checked, but not yet its signature.

    Raises:
        InvalidToken: it is not a signed JWT, not an access token, or not supported.
    """
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


def _roles(claims: dict[str, Any], name: str) -> frozenset[str]:
    """The roles in a claim: a list, or one text with blanks between them as in `scope` (RFC 8693, section 4.2).

    First the whole name is looked up, because it may be a URL. If there is no such claim, the name is read as a path
    through nested objects.
    """
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        found = found.split()
    return frozenset(each for each in found if isinstance(each, str)) if isinstance(found, list) else frozenset()
