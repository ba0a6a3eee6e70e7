"""The keys of the issuer of tokens. They are fetched in the background and cached.

A request waits for the issuer only if no keys have been fetched yet, or if its token names an unknown key. All requests
that wait share one fetch, and there is a pause between two fetches.
"""

import asyncio
import json
import logging
import warnings
from contextlib import suppress
from http.client import HTTPException
from time import monotonic, time
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit

from joserfc.errors import SecurityWarning
from joserfc.jwk import JWKRegistry, Key

from groundwork.auth.download import download
from groundwork.auth.trusted_urls import trusted
from groundwork.errors import Unavailable
from groundwork.observe.metrics import KEYS_TIME, counts

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300
"""How often keys are fetched again. A key that the issuer withdraws is trusted until then."""
PAUSE_SECONDS = 5
"""The shortest time between two fetches, so that forged tokens cannot make the service flood the issuer."""
FETCH_SECONDS = 5
"""The time limit for all documents of a fetch together, and so for a request that waits for it."""
DOCUMENT_LIMIT_BYTES = 256 * 1024

# The algorithms of each kind of key and curve. No other algorithm is accepted.
_ALGORITHMS: dict[Any, list[str]] = {
    ("RSA", None): ["RS256"],
    ("EC", "P-256"): ["ES256"],
    # Two names of one algorithm: most issuers use the first, and RFC 9864 defines the second.
    ("OKP", "Ed25519"): ["EdDSA", "Ed25519"],
}


class KeySet:
    """The keys of a JWK Set (RFC 7517) that can verify tokens, by algorithm.

    Keys that cannot be used are logged and left out. A set without a usable key is false.

    Args:
        members: the set's `keys`, as they came from the issuer.
    """

    def __init__(self, members: list[Any]) -> None:
        self.members = members
        self._keys: dict[str, list[Key]] = {}
        for member in members:
            try:
                key, algorithms = _import_key(member)
            except Exception as error:  # the library raises many kinds at an invalid key
                # Only the id of the key is logged. An issuer may publish a private key by mistake.
                name = str(member.get("kid"))[:100] if isinstance(member, dict) else "not a JSON object"
                cause = f"{name}: {type(error).__name__}: {error}"
                logger.info("a key of the issuer is not used", extra={"cause": cause})
            else:
                for algorithm in algorithms:
                    self._keys.setdefault(algorithm, []).append(key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, algorithm: str, key_id: str | None) -> Key | None:
        """The key that verifies a token; None if there is no such key.

        Args:
            algorithm: the token's `alg`.
            key_id: the token's `kid`. Without one, a key is found only if there is exactly one for the algorithm.
        """
        keys = self._keys.get(algorithm, [])
        if key_id is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == key_id), None)


class IssuerKeys:
    """An issuer's keys. They are fetched again and again while the context is entered.

    Args:
        issuer: the issuer's identifier, as in its tokens.
        jwks_url: the address of the keys. If it is None, it is read from the issuer's metadata.
    """

    def __init__(self, issuer: str, jwks_url: str | None) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._fetch: asyncio.Task[None] | None = None
        self._next_fetch = 0.0
        self._failed = False
        """Whether the latest fetch failed. Then the issuer may have other keys by now."""
        self.known: KeySet | None = None
        """The latest keys; None before the first fetch. It is the same object until the keys change."""

    async def __aenter__(self) -> Self:
        counts.values[KEYS_TIME] = time()
        self._keeper = asyncio.create_task(self._keep_fresh())
        return self

    async def __aexit__(self, *exception: object) -> None:
        for task in (self._keeper, self._fetch):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def get(self, *, newer: bool = False) -> KeySet:
        """The keys.

        Args:
            newer: fetch the keys again, unless the latest fetch is less than `PAUSE_SECONDS` old.

        Raises:
            Unavailable: no keys have been fetched, or with `newer` the latest fetch failed.
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
        """Wait for the running fetch, or start one. The fetch goes on if the waiting request is cancelled."""
        if self._fetch is None or self._fetch.done():
            if monotonic() < self._next_fetch:
                return
            self._fetch = asyncio.create_task(self._fetch_keys())
        await asyncio.wait([self._fetch])

    async def _fetch_keys(self) -> None:
        """Fetch the keys. If that fails, the known ones stay."""
        self._failed = True
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                members = await _fetch_members(self._issuer, self._jwks_url)
        except (_FetchError, TimeoutError) as error:
            cause = str(error) or "the download takes too long"
            logger.warning("the issuer's keys cannot be fetched", extra={"cause": cause})
        else:
            self._failed = False
            counts.values[KEYS_TIME] = time()
            if self.known is None or members != self.known.members:
                self.known = KeySet(members)
                if self.known:
                    logger.info("the issuer's keys were fetched, and are new")
                else:
                    logger.error(
                        "the issuer has no key that can be used: every token is refused;"
                        ' the lines "a key of the issuer is not used" say why'
                    )
        finally:
            self._next_fetch = monotonic() + PAUSE_SECONDS


class _FetchError(Exception):
    """A document cannot be fetched. The message names the address and says what is wrong."""


class _NoDocument(_FetchError):
    """The server has no document at this address."""


def _import_key(member: Any) -> tuple[Key, list[str]]:
    """A key, and the algorithms that it verifies.

    Args:
        member: a JSON Web Key (RFC 7517), as it came from the issuer.

    Raises:
        Exception: it is not a valid key for a supported algorithm.
    """
    kind = (member["kty"], None if member["kty"] == "RSA" else member.get("crv"))
    algorithms = [each for each in _ALGORITHMS[kind] if member.get("alg") in (None, each)]
    if not algorithms:
        raise ValueError("the algorithm is not supported")
    # The library only warns of RSA keys of fewer than 2048 bits (NIST SP 800-131A).
    with warnings.catch_warnings(action="error", category=SecurityWarning):
        key = JWKRegistry.import_key(member)
    key.check_use("sig")
    key.check_key_op("verify")
    return key, algorithms


async def _fetch_members(issuer: str, jwks_url: str | None) -> list[Any]:
    """The members of the issuer's JWK Set.

    Raises:
        _FetchError: it cannot be fetched, or is not a JWK Set.
    """
    url = jwks_url or await _discover(issuer)
    members = (await _fetch_json(url)).get("keys")
    if not isinstance(members, list):
        raise _FetchError(f"{url} is not a JWK Set")
    return members


async def _discover(issuer: str) -> str:
    """The address of the issuer's keys, from its metadata: OpenID Connect Discovery 1.0, or else RFC 8414.

    Raises:
        _FetchError: the metadata cannot be fetched, belongs to another issuer, or names an address that is not trusted.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    url = parts._replace(path=f"{path}/.well-known/openid-configuration").geturl()
    try:
        metadata = await _fetch_json(url)
    except _NoDocument:
        url = parts._replace(path=f"/.well-known/oauth-authorization-server{path}").geturl()
        metadata = await _fetch_json(url)
    # Otherwise one issuer could pretend to be another (RFC 8414, 3.3).
    if metadata.get("issuer") != issuer:
        raise _FetchError(
            f"{url} belongs to another issuer than AUTH_ISSUER: its issuer is {str(metadata.get('issuer'))[:200]!r}"
        )
    try:
        return trusted(str(metadata.get("jwks_uri")))
    except ValueError as error:
        raise _FetchError(f"jwks_uri in {url} {error}") from None


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
        raise _FetchError(f"{url} is not a JSON object")
    return document
