"""The issuer's keys: where they come from, how often they are fetched, and what happens if the issuer is away."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from joserfc.jwk import ECKey

from groundwork.auth import issuer as module
from groundwork.auth.issuer import DOCUMENT_LIMIT_BYTES, IssuerKeys
from groundwork.errors import Unavailable
from groundwork.observe.metrics import KEYS_TIME, counts
from groundwork.tests.sign_in.issuer import KEYS, OPENID, Issuer, new_key, public

OAUTH = "/.well-known/oauth-authorization-server"


@pytest.fixture
async def keys(issuer: Issuer) -> AsyncIterator[IssuerKeys]:
    """The issuer's keys, which have not been fetched yet."""
    async with IssuerKeys(issuer.url, None) as keys:
        yield keys


async def refused(keys: IssuerKeys, log: pytest.LogCaptureFixture) -> str:
    """The reasons in the log why there are no keys."""
    with pytest.raises(Unavailable):
        await keys.get()
    (record,) = [each for each in log.records if each.getMessage() == "the issuer's keys cannot be fetched"]
    return str(vars(record)["cause"])


async def until_known(keys: IssuerKeys, key_id: str) -> None:
    async with asyncio.timeout(5):
        while not (keys.known and keys.known.find("ES256", key_id)):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_found_by_the_issuers_metadata(issuer: Issuer, keys: IssuerKeys) -> None:
    assert (await keys.get()).find("ES256", "first")
    assert issuer.asked == {OPENID: 1, KEYS: 1}


@pytest.mark.parametrize("path", ["", "/", "/realms/one", "/realms/one/"])
async def test_the_issuers_path_belongs_to_the_address(issuer: Issuer, path: str) -> None:
    name = f"{issuer.url}{path}"
    issuer.answers[f"{path.rstrip('/')}{OPENID}"] = {"issuer": name, "jwks_uri": f"{issuer.url}{KEYS}"}
    async with IssuerKeys(name, None) as keys:
        assert await keys.get()


@pytest.mark.parametrize("path", ["", "/realms/one"])
async def test_by_rfc_8414_where_the_issuer_knows_no_openid(issuer: Issuer, path: str) -> None:
    del issuer.answers[OPENID]
    name = f"{issuer.url}{path}"
    issuer.answers[f"{OAUTH}{path}"] = {"issuer": name, "jwks_uri": f"{issuer.url}{KEYS}"}
    async with IssuerKeys(name, None) as keys:
        assert await keys.get()


async def test_the_address_of_the_keys_needs_no_metadata(issuer: Issuer) -> None:
    async with IssuerKeys("https://elsewhere.example.com", f"{issuer.url}{KEYS}") as keys:
        assert await keys.get()
    assert issuer.asked == {KEYS: 1}


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        (OPENID, {"issuer": "https://other.example.com", "jwks_uri": "{url}/keys"}, "belongs to another issuer"),
        (OPENID, {"issuer": "{url}/", "jwks_uri": "{url}/keys"}, "belongs to another issuer"),
        (OPENID, {"jwks_uri": "{url}/keys"}, "belongs to another issuer"),
        (OPENID, {"issuer": "{url}"}, "jwks_uri"),
        (OPENID, {"issuer": "{url}", "jwks_uri": "http://example.com/keys"}, "https://"),
        (OPENID, {"issuer": "{url}", "jwks_uri": "file:///etc/hosts"}, "https://"),
        (OPENID, {"issuer": "{url}", "jwks_uri": ["{url}/keys"]}, "https://"),
        (OPENID, [], "not a JSON object"),
        (OPENID, b"<html>", "JSONDecodeError"),
        (OPENID, None, f"{OAUTH} answers 404"),
        (KEYS, {}, "not a JWK Set"),
        (KEYS, {"keys": {}}, "not a JWK Set"),
        (KEYS, b"[" * 100_000, "RecursionError"),
        (KEYS, b"\xff", "UnicodeDecodeError"),
        (KEYS, b" " * (DOCUMENT_LIMIT_BYTES + 1), "larger than"),
        (KEYS, None, "answers 404"),
    ],
)
async def test_a_document_that_is_none_is_refused(
    issuer: Issuer, caplog: pytest.LogCaptureFixture, path: str, answer: object, says: str
) -> None:
    if isinstance(answer, dict):
        answer = {k: v.replace("{url}", issuer.url) if isinstance(v, str) else v for k, v in answer.items()}
    issuer.answers[path] = answer
    async with IssuerKeys(issuer.url, None) as keys:
        assert says in await refused(keys, caplog)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(issuer: Issuer, caplog: pytest.LogCaptureFixture, status: int) -> None:
    issuer.status, issuer.headers = status, {"Location": f"{issuer.url}{KEYS}"}
    async with IssuerKeys(issuer.url, None) as keys:
        assert f"answers {status}" in await refused(keys, caplog)
    assert issuer.asked == {OPENID: 1}


async def test_an_issuer_that_hangs_is_not_waited_for(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.2)
    issuer.delay_seconds = 2
    async with IssuerKeys(issuer.url, None) as keys:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await keys.get()
        assert time.monotonic() - started < 1.5


async def test_requests_at_once_share_one_fetch(issuer: Issuer, keys: IssuerKeys) -> None:
    issuer.delay_seconds = 0.1
    sets = await asyncio.gather(*(keys.get() for _ in range(200)))
    assert len({id(each) for each in sets}) == 1
    assert issuer.asked == {OPENID: 1, KEYS: 1}


async def test_one_that_leaves_takes_the_fetch_from_nobody(issuer: Issuer, keys: IssuerKeys) -> None:
    issuer.delay_seconds = 0.1
    first, second = asyncio.create_task(keys.get()), asyncio.create_task(keys.get())
    await asyncio.sleep(0.05)
    first.cancel()
    assert await second
    assert issuer.asked == {OPENID: 1, KEYS: 1}


async def test_newer_keys_are_asked_for_after_a_pause_only(
    issuer: Issuer, keys: IssuerKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 1)
    first = await keys.get()
    issuer.use(new_key("ES256", "second"))
    for _ in range(100):
        assert await keys.get(newer=True) is first
    assert issuer.asked[KEYS] == 1
    await asyncio.sleep(1)
    newer = await asyncio.gather(*(keys.get(newer=True) for _ in range(100)))
    assert all(each.find("ES256", "second") and not each.find("ES256", "first") for each in newer)
    assert issuer.asked[KEYS] == 2


@pytest.mark.usefixtures("short_pause")
async def test_the_same_keys_stay_the_same_object(issuer: Issuer, keys: IssuerKeys) -> None:
    assert await keys.get(newer=True) is await keys.get(newer=True)
    assert issuer.asked[KEYS] == 2


@pytest.mark.usefixtures("short_pause")
@pytest.mark.parametrize("answer", [None, {"keys": 7}, b"<html>"])
async def test_known_keys_outlast_a_fetch_that_fails(issuer: Issuer, keys: IssuerKeys, answer: object) -> None:
    known = await keys.get()
    issuer.answers[KEYS] = answer
    with pytest.raises(Unavailable):
        await keys.get(newer=True)
    assert await keys.get() is known


@pytest.mark.usefixtures("short_pause")
async def test_an_issuer_may_withdraw_every_key(issuer: Issuer, keys: IssuerKeys) -> None:
    await keys.get()
    issuer.answers[KEYS] = {"keys": []}
    assert not await keys.get(newer=True)


async def test_keys_are_fetched_again_in_time(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, short_pause: None
) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.05)
    async with IssuerKeys(issuer.url, None) as keys:
        await keys.get()
        issuer.use(ECKey.generate_key("P-256", {"kid": "second"}))
        await until_known(keys, "second")


async def test_an_issuer_that_is_away_at_the_start_is_found_when_it_returns(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)
    issuer.status = 503
    async with IssuerKeys(issuer.url, None) as keys:
        with pytest.raises(Unavailable):
            await keys.get()
        issuer.status = 200
        await until_known(keys, "first")


async def test_keys_that_are_not_used_are_named_in_the_log(
    issuer: Issuer, keys: IssuerKeys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    issuer.answers[KEYS]["keys"].append(public(ECKey.generate_key("P-384", {"kid": "unused"})))
    await keys.get()
    (record,) = [each for each in caplog.records if each.getMessage() == "a key of the issuer is not used"]
    assert "unused" in vars(record)["cause"]


async def test_the_time_of_the_last_good_fetch_is_told(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first fetch, it is the time of the start. So keys that never came also grow old."""
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    times = iter(range(1000, 2000))
    monkeypatch.setattr(module, "time", lambda: next(times))
    issuer.status = 503
    async with IssuerKeys(issuer.url, None) as keys:
        assert counts.values[KEYS_TIME] == 1000
        with pytest.raises(Unavailable):
            await keys.get()
        assert counts.values[KEYS_TIME] == 1000
        issuer.status = 200
        await keys.get(newer=True)
        fetched = counts.values[KEYS_TIME]
        assert fetched > 1000
        issuer.status = 503
        with pytest.raises(Unavailable):
            await keys.get(newer=True)
        assert counts.values[KEYS_TIME] == fetched
