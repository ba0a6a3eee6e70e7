"""Which tokens are valid, and how long their verification is cached."""

import hmac
import json
import random
import string
import time
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import validate_compact

from groundwork.auth import tokens
from groundwork.auth.issuer import IssuerKeys, KeySet
from groundwork.auth.tokens import CLOCK_SKEW_SECONDS, TOKEN_LIMIT_BYTES, TokenVerifier
from groundwork.errors import InvalidToken
from groundwork.tests.sign_in.issuer import ALGORITHMS, AUDIENCE, encoded, new_key, public, rsa_key, sign

ISSUER = "https://issuer.example.com/"
KEY = ECKey.generate_key("P-256", {"kid": "k"})


class Keys(IssuerKeys):
    """The issuer's keys, set by the test; there is no issuer."""

    def __init__(self, *members: Any) -> None:
        super().__init__(ISSUER, None)
        self.replace(*members)
        self.asked = 0

    def replace(self, *members: Any) -> None:
        self.known = KeySet(list(members))

    async def get(self, *, newer: bool = False) -> KeySet:
        self.asked += newer
        assert self.known is not None
        return self.known


def verifier_of(*members: Any) -> TokenVerifier:
    return TokenVerifier(Keys(*members), issuer=ISSUER, audience=AUDIENCE)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, **changes}


async def refusal(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(token.encode())
    return caught.value.detail


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("names_algorithm", [True, False])
async def test_each_algorithm(algorithm: str, names_algorithm: bool) -> None:
    key = new_key(algorithm, "k")
    member = public(key, use="sig", **({"alg": algorithm} if names_algorithm else {}))
    token = sign(key, claims(), algorithm=algorithm)
    assert (await verifier_of(member).verify(token.encode())).user_id == "alice"


@pytest.mark.parametrize(
    "header",
    [
        {"typ": None},
        {"typ": "at+jwt"},
        {"typ": "AT+JWT"},
        {"typ": "application/at+jwt"},
        {"cat": "of the issuer's own", "nested": {"a": [1]}},
        {"kid": None},
    ],
)
async def test_headers_that_issuers_send(header: dict[str, Any]) -> None:
    assert (await verifier_of(public(KEY)).verify(sign(KEY, claims(), **header).encode())).user_id == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE]},
        {"aud": ["https://other.example.com", AUDIENCE]},
        {"iat": None},
        {"nbf": 0},
        {"nbf": 0.5},
        {"exp": 10**10 + 0.5},
        {"exp": 10**30},
        {"client_id": "x", "jti": "y", "scope": "z", "azp": "a", "o": {"id": "1"}},
    ],
)
async def test_claims_that_issuers_send(changes: dict[str, Any]) -> None:
    assert (await verifier_of(public(KEY)).verify(sign(KEY, claims(**changes)).encode())).user_id == "alice"


@pytest.mark.parametrize(("claim", "sign_of"), [("exp", -1), ("nbf", 1), ("iat", 1)])
async def test_the_clocks_may_differ_a_little(claim: str, sign_of: int) -> None:
    assert CLOCK_SKEW_SECONDS <= 60
    near, far = (int(time.time()) + sign_of * (CLOCK_SKEW_SECONDS + seconds) for seconds in (-10, 10))
    assert (await verifier_of(public(KEY)).verify(sign(KEY, claims(**{claim: near})).encode())).user_id == "alice"
    await refusal(verifier_of(public(KEY)), sign(KEY, claims(**{claim: far})))


@pytest.mark.parametrize("user_id", ["a/b", "auth0|6553da60", "\u20ac", "a" * 255, " ", "%2F"])
async def test_users_of_any_name(user_id: str) -> None:
    assert (await verifier_of(public(KEY)).verify(sign(KEY, claims(sub=user_id)).encode())).user_id == user_id


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"iss": ISSUER.rstrip("/")}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"iss": None}, "lacks iss"),
        ({"aud": "https://other.example.com"}, "another audience"),
        ({"aud": AUDIENCE + "/"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"aud": None}, "lacks aud"),
        ({"exp": 0}, "expired"),
        ({"exp": "tomorrow"}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": float("nan")}, "expired"),
        ({"exp": float("inf")}, "expired"),
        ({"exp": None}, "lacks exp"),
        ({"nbf": 10**10}, "not valid yet"),
        ({"nbf": "now"}, "not valid yet"),
        ({"iat": 10**10}, "in the future"),
        ({"iat": "now"}, "in the future"),
        ({"sub": None}, "lacks sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": ["alice"]}, "sub"),
        ({"sub": "a" * 256}, "sub cannot be a user's id"),
        ({"sub": "alice\0"}, "sub cannot be a user's id"),
        ({"sub": "alice\ud800"}, "sub cannot be a user's id"),
    ],
)
async def test_other_claims_are_refused(changes: dict[str, Any], says: str) -> None:
    said = await refusal(verifier_of(public(KEY)), sign(KEY, claims(**changes)))
    assert says in said


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"crit": ["exp"], "exp": 1}, "extension"),
        ({"crit": []}, "extension"),
        ({"b64": True}, "extension"),
        ({"typ": "logout+jwt"}, "not an access token"),
        ({"typ": "dpop+jwt"}, "not an access token"),
        ({"kid": "other"}, "key of the issuer"),
    ],
)
async def test_other_headers_are_refused(header: dict[str, Any], says: str) -> None:
    assert says in await refusal(verifier_of(public(KEY)), sign(KEY, claims(), **header))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "RS384", "PS256", "ES512", "Ed448", "", "dir"])
async def test_other_algorithms_are_refused_before_anybody_is_asked(algorithm: str) -> None:
    keys = Keys(public(KEY))
    verifier = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE)
    for signature in ("", encoded(b"0" * 64)):
        token = f"{encoded({'alg': algorithm, 'kid': 'k'})}.{encoded(claims())}.{signature}"
        assert "algorithm" in await refusal(verifier, token)
    assert keys.asked == 0


@pytest.mark.parametrize("key", [rsa_key("k"), KEY], ids=["RSA", "EC"])
async def test_the_public_key_is_no_secret_of_an_hmac(key: RSAKey | ECKey) -> None:
    for secret in (key.as_pem(private=False), json.dumps(public(key)).encode()):
        signed = f"{encoded({'alg': 'HS256', 'kid': 'k'})}.{encoded(claims())}"
        token = f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"
        assert "algorithm" in await refusal(verifier_of(public(key)), token)


async def test_a_key_is_not_used_with_the_algorithm_of_another() -> None:
    ed, rsa = new_key("EdDSA", "ed"), rsa_key("rsa")
    verifier = verifier_of(public(ed), public(rsa))
    for key, algorithm in ((ed, "RS256"), (rsa, "EdDSA"), (rsa, "ES256")):
        token = f"{encoded({'alg': algorithm, 'kid': key.kid})}.{encoded(claims())}.{encoded(b'0' * 64)}"
        assert "key of the issuer" in await refusal(verifier, token)


@pytest.mark.parametrize(
    "member",
    [
        public(KEY, use="enc"),
        public(KEY, key_ops=["deriveKey"]),
        public(KEY, alg="ES384"),
        public(KEY, alg=7),
        public(KEY, x="AAAA"),
        public(KEY, kid=7),
        {"kty": "RSA", "n": encoded(b"\xff" * 128), "e": "AQAB", "kid": "k"},  # 1024 bits
        public(rsa_key("k"), e=""),
        public(ECKey.generate_key("P-384", {"kid": "k"})),
        public(ECKey.generate_key("secp256k1", {"kid": "k"})),
        public(OKPKey.generate_key("Ed448", {"kid": "k"})),
        public(OKPKey.generate_key("X25519", {"kid": "k"})),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        {"kty": ["RSA"], "kid": "k"},
        {"kty": "EC", "crv": {}, "kid": "k"},
        {},
        None,
        "k",
    ],
)
def test_other_keys_are_not_used(member: Any) -> None:
    assert not KeySet([member])
    assert KeySet([member, public(KEY)]).find("ES256", "k") is not None


async def test_a_token_that_names_no_key_is_of_the_only_one() -> None:
    other = ECKey.generate_key("P-256", {"kid": "other"})
    token = sign(KEY, claims(), kid=None)
    assert (await verifier_of(public(KEY), public(rsa_key("rsa"))).verify(token.encode())).user_id == "alice"
    assert "key of the issuer" in await refusal(verifier_of(public(KEY), public(other)), token)


async def test_a_large_token_is_refused_unread() -> None:
    token = sign(KEY, claims(name="x" * 4000), x5t="x" * 3000)
    assert len(token) > TOKEN_LIMIT_BYTES
    assert "larger than" in await refusal(verifier_of(public(KEY)), token)
    assert (await verifier_of(public(KEY)).verify(sign(KEY, claims(name="x" * 4000)).encode())).user_id == "alice"


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_changed_token_is_refused(part: int) -> None:
    parts = sign(KEY, claims()).split(".")
    verifier = verifier_of(public(KEY))
    for place in range(0, len(parts[part]), 7):
        changed = list(parts[part])
        changed[place] = "A" if changed[place] != "A" else "B"
        await refusal(verifier, ".".join([*parts[:part], "".join(changed), *parts[part + 1 :]]))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "x" * TOKEN_LIMIT_BYTES,
        "x" * (TOKEN_LIMIT_BYTES + 1),
        "\u20ac",
        sign(KEY, claims()) + ".",
        sign(KEY, claims()) + "=",
    ],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refusal(verifier_of(public(KEY)), token)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 5000,
        b"{",
        b"7",
        b'"alg b64"',
        b'["alg", "b64"]',
        b"null",
        b"\xff",
        b'{"alg": ' + b"9" * 5000 + b"}",
        {},
        {"alg": 7},
        {"alg": None},
        {"alg": ["ES256"]},
        {"alg": "ES256", "kid": {}},
        {"alg": "ES256", "kid": ["k"]},
        {"alg": "ES256", "typ": 7},
        {"alg": "ES256", "kid": "k", "jku": 7},
        {"alg": "ES256", "kid": "k", "x5c": "x"},
    ],
)
async def test_a_header_that_is_none_is_refused(header: Any) -> None:
    await refusal(verifier_of(public(KEY)), f"{encoded(header)}.{encoded(claims())}.{encoded(b'0' * 64)}")


@pytest.mark.parametrize("content", [b"", b"{", b"7", b"[]", b"[" * 5000, b"\xff", b'"sub"'])
async def test_a_signed_text_that_holds_no_claims_is_refused(content: bytes) -> None:
    assert "not a signed JWT" in await refusal(verifier_of(public(KEY)), sign(KEY, content))


async def test_no_text_at_all_is_a_defect() -> None:
    """Random changes of tokens and random texts like tokens: each raises InvalidToken and nothing else."""
    chance = random.Random(7)
    verifier = verifier_of(public(KEY), public(rsa_key("rsa")), public(new_key("EdDSA", "ed")))
    token = sign(KEY, claims())
    values = [None, 7, -1, 1e308, "", "k", "rsa", "ES256", "RS256", [], ["alg"], {}, {"alg": "ES256"}, True, "\ud800"]
    names = ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "x5t", "cty", "zip"]
    for _ in range(3000):
        kind = chance.random()
        if kind < 0.4:
            text = list(token)
            for _ in range(chance.randint(1, 4)):
                text[chance.randrange(len(text))] = chance.choice(string.printable)
            given = "".join(text)
        else:
            header = {name: chance.choice(values) for name in chance.sample(names, chance.randint(0, 5))}
            header.setdefault("alg", chance.choice(["ES256", "RS256", "EdDSA", "none"]))
            signature = chance.randbytes(chance.choice([0, 1, 63, 64, 65, 256]))
            given = f"{encoded(header)}.{encoded(claims())}.{encoded(signature)}"
        if given != token:
            await refusal(verifier, given)


class TestRemembering:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The current time, which a test can change."""
        now = [time.time()]
        monkeypatch.setattr(time, "time", lambda: now[0])
        return now

    @pytest.fixture
    def verified(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The keys with which signatures were verified."""
        keys: list[str] = []

        def counted(signature: Any, key: Any, **options: Any) -> bool:
            keys.append(key.kid)
            return validate_compact(signature, key, **options)

        monkeypatch.setattr("groundwork.auth.tokens.validate_compact", counted)
        return keys

    async def test_a_signature_is_verified_once(self, verified: list[str]) -> None:
        verifier, token = verifier_of(public(KEY)), sign(KEY, claims()).encode()
        for _ in range(3):
            assert (await verifier.verify(token)).user_id == "alice"
        assert verified == ["k"]

    async def test_until_the_token_expires(self, clock: list[float], verified: list[str]) -> None:
        verifier, token = verifier_of(public(KEY)), sign(KEY, claims(exp=int(clock[0]) + 100))
        await verifier.verify(token.encode())
        clock[0] += 100 + CLOCK_SKEW_SECONDS - 2
        await verifier.verify(token.encode())
        assert verified == ["k"]
        clock[0] += 3
        assert "expired" in await refusal(verifier, token)

    async def test_a_refusal_is_not_remembered(self, clock: list[float]) -> None:
        verifier, token = verifier_of(public(KEY)), sign(KEY, claims(nbf=int(clock[0]) + 100))
        assert "not valid yet" in await refusal(verifier, token)
        clock[0] += 100
        assert (await verifier.verify(token.encode())).user_id == "alice"

    async def test_until_the_key_is_withdrawn(self) -> None:
        other = ECKey.generate_key("P-256", {"kid": "other"})
        keys = Keys(public(KEY), public(other))
        verifier, token = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE), sign(KEY, claims())
        assert (await verifier.verify(token.encode())).user_id == "alice"
        keys.replace(public(other))
        assert "key of the issuer" in await refusal(verifier, token)

    async def test_until_another_key_takes_its_name(self) -> None:
        keys = Keys(public(KEY))
        verifier, token = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE), sign(KEY, claims())
        assert (await verifier.verify(token.encode())).user_id == "alice"
        keys.replace(public(ECKey.generate_key("P-256", {"kid": "k"})))
        assert "signature" in await refusal(verifier, token)

    async def test_of_so_many_and_no_more(self, monkeypatch: pytest.MonkeyPatch, verified: list[str]) -> None:
        monkeypatch.setattr(tokens, "CACHE_LIMIT", 3)
        verifier = verifier_of(public(KEY))
        texts = [sign(KEY, claims(sub=str(number))).encode() for number in range(5)]
        for text in texts:
            await verifier.verify(text)
        assert len(verifier._verified) == 3
        assert (await verifier.verify(texts[-1])).user_id == "4"
        assert len(verified) == 5
        assert (await verifier.verify(texts[0])).user_id == "0"
        assert len(verified) == 6

    async def test_no_token_is_kept(self) -> None:
        verifier, token = verifier_of(public(KEY)), sign(KEY, claims()).encode()
        await verifier.verify(token)
        assert token not in verifier._verified
        assert token.rpartition(b".")[2].decode() not in str(vars(verifier))
