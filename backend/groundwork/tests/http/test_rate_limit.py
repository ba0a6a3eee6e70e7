"""The rate limit of each user: what is refused, what the answers say, and that it costs nothing when it is off."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from app.routes.tasks import router as tasks
from groundwork.errors import TooManyRequests
from groundwork.http.rate_limit import RateLimit
from groundwork.serve.application import create_app
from groundwork.serve.settings import Settings
from groundwork.testing.contract.document import PROBLEM, examples_of
from groundwork.testing.http import MISSING_ID, assert_problem, client_of
from groundwork.tests.sign_in.issuer import running_issuer

PATH = "/api/alice/tasks"
NOBODY = "postgresql://user:secret@127.0.0.1:1/database"
TASK = f"{PATH}/{MISSING_ID}"


class Clock:
    """The time of the limit, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("groundwork.http.rate_limit.monotonic", clock)
    return clock


@pytest.fixture(params=[pytest.param(True, id="fast", marks=pytest.mark.fast), pytest.param(False, id="stock")])
def fast(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def served(settings: Settings, *, fast: bool = True, **limits: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update=limits), resources=[tasks], fast=fast)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def fields(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")


async def test_a_bucket_empties_and_fills_again(settings: Settings, clock: Clock, fast: bool) -> None:
    async with served(settings, fast=fast, rate_limit_per_minute=30, rate_limit_burst=3) as client:
        policy = '"user";q=3;w=6'
        for left in (2, 1, 0):
            answer = await client.get(PATH)
            assert (answer.status_code, *fields(answer)) == (200, policy, f'"user";r={left};t=2')
        for _ in range(2):  # a refused request takes no token
            refused = await client.get(PATH)
            assert_problem(refused, 429)
            assert refused.json()["detail"] == "You have sent too many requests: send the next one in 2 s."
            assert refused.headers["retry-after"] == "2"
            assert fields(refused) == (policy, '"user";r=0;t=2')
        assert fields(await client.get("/api/bob/tasks")) == (policy, '"user";r=2;t=2')
        clock.now += 2
        assert (await client.get(PATH)).status_code == 200
        assert (await client.get(PATH)).status_code == 429
        clock.now += 1000
        assert fields(await client.get(PATH))[1] == '"user";r=2;t=2'


async def test_every_answer_to_a_user_says_what_is_left(settings: Settings, fast: bool) -> None:
    async with served(settings, fast=fast, rate_limit_per_minute=60) as client:
        made = await client.post(PATH, json={"title": "one"})
        etag, path = made.headers["etag"], f"{PATH}/{made.json()['id']}"
        answers = [
            made,
            await client.get(path, headers={"If-None-Match": etag}),
            await client.head(path),
            await client.put(path, json={}, headers={"If-Match": '"0"'}),
            await client.get(TASK),
            await client.post(PATH, json={"title": ""}),
            await client.get(PATH, params={"limit": "many"}),
        ]
        assert [answer.status_code for answer in answers] == [201, 304, 200, 412, 404, 400, 400]
        assert [fields(answer)[1] for answer in answers] == [f'"user";r={59 - taken};t=1' for taken in range(7)]
        uncounted = [await client.get(path) for path in ("/health/ready", "/openapi.json", "/docs", "/nothing")]
        uncounted.append(await client.post(PATH, content="{", headers={"Content-Type": "application/json"}))
        uncounted.append(await client.post(PATH, content="{}", headers={"Content-Type": "text/plain"}))
        assert [answer.status_code for answer in uncounted] == [200, 200, 200, 404, 400, 415]
        assert {fields(answer) for answer in uncounted} == {(None, None)}


async def test_whoever_is_refused_at_sign_in_takes_no_token(settings: Settings, fast: bool) -> None:
    with running_issuer() as issuer:
        limits = {"rate_limit_per_minute": 2, **issuer.settings()}
        async with served(settings, fast=fast, **limits) as client:
            for _ in range(3):
                for headers in ({}, issuer.bearer("eve"), {"Authorization": "Bearer x"}):
                    assert (await client.get(PATH, headers=headers)).status_code in (401, 404)
            answers = [await client.get(PATH, headers=issuer.bearer("alice")) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_the_document_names_429_only_where_it_is_on(settings: Settings) -> None:
    async def statuses(**limits: Any) -> set[bool]:
        async with served(settings, **limits) as client:
            document = (await client.get("/openapi.json")).json()
        return {
            "429" in operation["responses"]
            for path, operations in document["paths"].items()
            if path.startswith("/api/")
            for operation in operations.values()
        }

    assert await statuses() == {False}
    assert await statuses(rate_limit_per_minute=5) == {True}


async def test_the_example_of_429_is_what_happens(settings: Settings) -> None:
    async with served(settings, rate_limit_per_minute=1) as client:
        document = (await client.get("/openapi.json")).json()
        content = document["paths"]["/api/{user_id}/tasks"]["get"]["responses"]["429"]["content"][PROBLEM]
        [example] = examples_of(document, content).values()
        await client.get(PATH)
        refused = assert_problem(await client.get(PATH), 429)
    assert re.sub(r"\d+ s", "", refused["detail"]) == re.sub(r"\d+ s", "", example["detail"])
    assert {**refused, "detail": ""} == {**example, "detail": ""}


async def test_pages_of_other_origins_may_read_the_fields(settings: Settings) -> None:
    async with served(settings, rate_limit_per_minute=5, cors_origins=("https://app.example.com",)) as client:
        answer = await client.get(PATH, headers={"Origin": "https://app.example.com"})
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= {
            name.strip() for name in answer.headers["access-control-expose-headers"].split(",")
        }


async def test_when_it_is_off_no_answer_has_the_fields(settings: Settings, fast: bool) -> None:
    async with served(settings, fast=fast) as client:
        assert fields(await client.get(PATH)) == (None, None)


def test_when_it_is_off_it_is_not_imported() -> None:
    code = "import sys, app.main as main; main.app; sys.exit('groundwork.http.rate_limit' in sys.modules)"
    variables = {"DATABASE_URL": "postgresql://user:secret@127.0.0.1:1/database"}
    for limit, imported in (("", 0), ("60", 1)):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**variables, "RATE_LIMIT_PER_MINUTE": limit}, check=False
        )
        assert done.returncode == imported


class _Requested:
    def __init__(self, user_id: str) -> None:
        self.path_params = {"user_id": user_id}
        self.scope: dict[str, Any] = {"groundwork.rate_limit_fields": []}


async def allowed(limit: RateLimit, user_id: str) -> bool:
    try:
        await limit.require_token(_Requested(user_id))  # type: ignore[arg-type]
    except TooManyRequests:
        return False
    return True


@pytest.mark.parametrize(("per_minute", "burst"), [(1, 1), (7, 3), (60, 60), (600, 1), (1_000_000, 100)])
async def test_over_any_time_a_user_gets_the_burst_and_the_rate(clock: Clock, per_minute: int, burst: int) -> None:
    limit = RateLimit(per_minute=per_minute, burst=burst)
    random = Random(burst)
    for pauses, is_exact in (([0.1] * 3000, True), ([random.expovariate(2) for _ in range(3000)], False)):
        clock.now += 3600
        began, taken = clock.now, 0
        for pause in pauses:
            taken += await allowed(limit, "alice")
            clock.now += pause * 60 / per_minute
        most = burst + (clock.now - began) * per_minute / 60
        assert taken <= most
        # At random times, a request can find the bucket full. Tokens that no longer fit into it are lost.
        assert taken >= most - 2 or not is_exact


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_million_users_take_the_same_memory_and_leave_the_others_as_they_are(clock: Clock) -> None:
    limit = RateLimit(per_minute=60, burst=20)
    for _ in range(20):
        assert await allowed(limit, "alice")
    before = _resident_bytes()
    for number in range(1_000_000):
        await allowed(limit, f"made-up-{number}")
    assert not await allowed(limit, "alice")
    # A new user shares a bucket with about one of them, and so finds it nearly full.
    assert sum([await allowed(limit, "bob") for _ in range(10)]) == 10
    assert _resident_bytes() - before < 12 * 1024 * 1024
