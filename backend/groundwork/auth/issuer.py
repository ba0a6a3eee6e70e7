"""The keys of the issuer of tokens: fetched in the background, kept, and fetched again when a token names another.

No request waits for the issuer but the first ones, before any keys are known, and those whose token names a key that
is not known. However many come, they share one fetch, and between two fetches there is a pause.
"""

import asyncio
import json
import logging
import warnings
from contextlib import suppress
from http.client import HTTPException
from time import monotonic
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit

from joserfc.errors import SecurityWarning
from joserfc.jwk import JWKRegistry, Key, RSAKey

from groundwork.auth.download import download
from groundwork.auth.trusted_urls import require_trusted
from groundwork.errors import Unavailable

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300
"""How long keys are used before they are fetched again: a key that the issuer withdraws is trusted for so long."""
PAUSE_SECONDS = 5
"""Between two fetches at least, so that forged tokens cannot make the service a burden to the issuer."""
FETCH_SECONDS = 5
"""How long the documents may take together, and how long a request waits for them."""
DOCUMENT_LIMIT_BYTES = 256 * 1024
RSA_BITS = 2048
"""Keys of fewer are not used (NIST SP 800-131A)."""

# By kind of key, and curve, the algorithms that it is used with. What is not here does not exist for this service.
_ALGORITHMS: dict[Any, list[str]] = {
    ("RSA", None): ["RS256"],
    ("EC", "P-256"): ["ES256"],
    # One algorithm, by the name that most providers use and by the one that RFC 9864 gives it.
    ("OKP", "Ed25519"): ["EdDSA", "Ed25519"],
}


class KeySet:
    """The keys of a JWK Set (RFC 7517) that may verify tokens, each under the algorithms that it may be used with."""

    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self._keys: dict[str, list[Key]] = {}
        for member in members:
            try:
                key, algorithms = _import_key(member)
            except _UnusableKey as error:
                logger.info("a key of the issuer is not used", extra={"cause": str(error)})
            else:
                for algorithm in algorithms:
                    self._keys.setdefault(algorithm, []).append(key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, algorithm: str, key_id: str | None) -> Key | None:
        """The key that a token names; one that names none is of the only key that there is, if it is of any."""
        keys = self._keys.get(algorithm, [])
        if key_id is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == key_id), None)


class IssuerKeys:
    """An issuer's keys, kept fresh while the context is entered.

    Args:
        issuer: its identifier, as it stands in tokens.
        jwks_url: where its keys are; without it, where its metadata says.
    """

    def __init__(self, issuer: str, jwks_url: str | None) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch: asyncio.Task[None] | None = None
        self._next_fetch = 0.0
        self._failed = False
        """Whether the latest fetch failed: what the issuer's keys are now, nobody knows."""
        self.known: KeySet | None = None
        """None until they have been fetched once; the same object until they change."""

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep_fresh())
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in (self._keeper, self._fetch):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def get(self, *, newer: bool = False) -> KeySet:
        """The keys; with `newer`, fetched again if that was not done a moment ago.

        Raises:
            Unavailable: none are known, or with `newer` none that are newer, because the issuer did not answer.
        """
        if newer or self.known is None:
            await self._refresh()
        if self.known is None or (newer and self._failed):
            raise Unavailable
        return self.known

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            await asyncio.sleep(REFRESH_SECONDS if self.known else PAUSE_SECONDS)

    async def _refresh(self) -> None:
        """Wait for the fetch that is on its way, or for a new one. Who waits may leave: the fetch goes on."""
        if self._fetch is None or self._fetch.done():
            if monotonic() < self._next_fetch:
                return
            self._fetch = asyncio.create_task(self._fetch_keys())
        await asyncio.wait([self._fetch])

    async def _fetch_keys(self) -> None:
        """Replace the keys; when that fails, those that are known stay."""
        self._failed = True
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                members = await _fetch_members(self._issuer, self._jwks_url)
        except (_FetchError, TimeoutError) as error:
            logger.warning("the issuer's keys cannot be fetched", extra={"cause": str(error) or "it takes too long"})
        else:
            self._failed = False
            if self.known is None or members != self.known.members:
                self.known = KeySet(members)
                if self.known:
                    logger.info("the issuer's keys are known, or have changed")
                else:
                    logger.error("the issuer has no key that can be used: every token will be refused")
        finally:
            self._next_fetch = monotonic() + PAUSE_SECONDS


class _UnusableKey(Exception):
    """A key that verifies nothing here; the message says which, and why."""


class _FetchError(Exception):
    """The message says which address, and what is wrong."""


class _NoDocument(_FetchError):
    """The address answers, but has no such document."""


def _import_key(member: Any) -> tuple[Key, list[str]]:
    """A key, and the algorithms that it may be used with.

    Raises:
        _UnusableKey: there are none.
    """
    if not isinstance(member, dict):
        raise _UnusableKey("not a JSON object")
    name = str(member.get("kid"))[:100]
    kind = (member.get("kty"), None if member.get("kty") == "RSA" else member.get("crv"))
    try:
        algorithms = [each for each in _ALGORITHMS[kind] if member.get("alg") in (None, each)]
        # The library warns of small keys; here they are refused.
        with warnings.catch_warnings(action="ignore", category=SecurityWarning):
            key = JWKRegistry.import_key(member)
        key.check_use("sig")
        key.check_key_op("verify")
    except Exception as error:  # the library raises much at what is no key
        raise _UnusableKey(f"{name}: {type(error).__name__}: {error}") from None
    if isinstance(key, RSAKey) and key.public_key.key_size < RSA_BITS:
        raise _UnusableKey(f"{name}: fewer than {RSA_BITS} bits")
    if not algorithms:
        raise _UnusableKey(f"{name}: of an algorithm that is not used")
    return key, algorithms


async def _fetch_members(issuer: str, jwks_url: str | None) -> list[Any]:
    """The members of the issuer's JWK Set.

    Raises:
        _FetchError: it cannot be fetched, or is none.
    """
    url = jwks_url or await _discover(issuer)
    members = (await _fetch_json(url)).get("keys")
    if not isinstance(members, list):
        raise _FetchError(f"{url} answers no JWK Set")
    return members


async def _discover(issuer: str) -> str:
    """Where the issuer's keys are, by its metadata: OpenID Connect Discovery's, or those of RFC 8414."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    url = parts._replace(path=f"{path}/.well-known/openid-configuration").geturl()
    try:
        metadata = await _fetch_json(url)
    except _NoDocument:
        url = parts._replace(path=f"/.well-known/oauth-authorization-server{path}").geturl()
        metadata = await _fetch_json(url)
    # RFC 8414, 3.3: else one issuer could answer for another.
    if metadata.get("issuer") != issuer:
        raise _FetchError(f"{url} is not of the issuer in AUTH_ISSUER: it says {str(metadata.get('issuer'))[:200]!r}")
    jwks_url = str(metadata.get("jwks_uri"))
    try:
        require_trusted(jwks_url)
    except ValueError as error:
        raise _FetchError(f"jwks_uri in {url} {error}") from None
    return jwks_url


async def _fetch_json(url: str) -> dict[str, Any]:
    try:
        document = json.loads(await download(url, timeout_seconds=FETCH_SECONDS, limit_bytes=DOCUMENT_LIMIT_BYTES))
    except HTTPError as error:
        error.close()
        kind = _NoDocument if error.code in (404, 405, 410) else _FetchError
        raise kind(f"{url} answers {error.code}") from None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise _FetchError(f"{url}: {type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise _FetchError(f"{url} answers no JSON object")
    return document
