"""The service with sign-in on: which answer each caller gets, and that it reveals nothing about other users."""

import asyncio
import itertools
import sys
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
import schemathesis
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from groundwork.auth import issuer as module
from groundwork.fast.fast_routes import FastRoutes
from groundwork.fast.plain_route import PlainRoute
from groundwork.testing.contract.document import examples_of
from groundwork.testing.contract.ownership import place, visible
from groundwork.testing.http import client_of
from groundwork.testing.parametrize import ALICES_ID, CLAIM
from groundwork.testing.resource import Operation
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, create
from groundwork.tests.sign_in.issuer import KEYS, OPENID, Issuer, new_key, public, sign
from tests.resources import TASK

CASES = {operation.name: operation for operation in TASK.operations(**CLAIM)}
OPERATIONS = [
    ("GET", ALICE, None),
    ("POST", ALICE, {"title": "x"}),
    ("GET", f"{ALICE}/{MISSING_ID}", None),
    ("PUT", f"{ALICE}/{MISSING_ID}", {"title": "x"}),
    ("PATCH", f"{ALICE}/{MISSING_ID}/complete", None),
    ("DELETE", f"{ALICE}/{MISSING_ID}", None),
]


@pytest.fixture
async def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of the application, which sends no token."""
    client.headers["X-Request-ID"] = "the-same"
    return client


async def test_a_user_does_everything_with_its_own(alice: httpx.AsyncClient) -> None:
    task = await create(alice)
    path = f"{ALICE}/{task['id']}"
    assert (await alice.get(ALICE)).json() == [task]
    assert (await alice.get(path)).json() == task
    assert (await alice.put(path, json={"title": "y"})).json()["title"] == "y"
    assert (await alice.patch(f"{path}/complete")).json()["completed"]
    assert (await alice.delete(path)).status_code == 200
    assert_problem(await alice.get(path), 404)
    assert_problem(await alice.post(ALICE, json={}), 400)


async def test_every_operation_takes_the_short_way(alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    respond = PlainRoute.response

    async def spied(route: Any, *arguments: Any) -> Any:
        names.append(route.endpoint.__name__)
        return await respond(route, *arguments)

    monkeypatch.setattr(PlainRoute, "response", spied)
    await test_a_user_does_everything_with_its_own(alice)
    assert set(CASES) == set(names)


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
@pytest.mark.parametrize(
    ("given", "challenge"),
    [
        (None, "Bearer"),
        ("", "Bearer"),
        ("Basic YWxpY2U6c2VjcmV0", "Bearer"),
        ("Bearer", 'Bearer error="invalid_token", error_description="The token is not a signed JWT."'),
        ("Bearer x", 'Bearer error="invalid_token", error_description="The token is not a signed JWT."'),
    ],
)
async def test_without_a_good_token_nobody_is_known(
    client: httpx.AsyncClient, method: str, path: str, body: Any, given: str | None, challenge: str
) -> None:
    headers = {} if given is None else {"Authorization": given}
    response = await client.request(method, path, json=body, headers=headers)
    problem = assert_problem(response, 401)
    assert response.headers["www-authenticate"] == challenge
    assert response.headers["cache-control"] == "no-store"
    assert problem["title"] == "Unauthorized"
    assert "error" in challenge or "needs a bearer token" in problem["detail"]


async def test_the_scheme_is_bearer_in_any_case(client: httpx.AsyncClient, issuer: Issuer) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        response = await client.get(ALICE, headers={"Authorization": f"{scheme} {issuer.token()}"})
        assert response.status_code == 200


async def test_of_two_tokens_none_counts(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = [("Authorization", f"Bearer {issuer.token(user)}") for user in ("alice", "mallory")]
    assert_problem(await client.get(ALICE, headers=headers), 401)


async def test_a_token_counts_in_its_header_only(client: httpx.AsyncClient, issuer: Issuer) -> None:
    token = issuer.token()
    response = await client.get(ALICE, params={"access_token": token}, headers={"Cookie": f"token={token}"})
    assert_problem(response, 401)
    assert token not in response.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"exp": 1}, "expired"), ({"aud": "other"}, "another audience"), ({"iss": "https://other"}, "another issuer")],
)
async def test_what_is_wrong_with_a_token_is_said(
    client: httpx.AsyncClient, issuer: Issuer, changes: dict[str, Any], says: str
) -> None:
    response = await client.get(ALICE, headers=issuer.bearer(**changes))
    assert says in assert_problem(response, 401)["detail"]
    assert says in response.headers["www-authenticate"]


@pytest.mark.parametrize("operation", CASES.values(), ids=CASES)
async def test_another_users_path_holds_nothing(
    client: httpx.AsyncClient, connection: asyncpg.Connection, issuer: Issuer, operation: Operation
) -> None:
    """The bytes are the same whether a row, a user or even the path exists."""
    client.headers.update(issuer.bearer("mallory"))
    without = await operation.send(client, place(operation, "alice"))
    await TASK.insert(connection, "alice", id=ALICES_ID)
    before = await TASK.rows(connection, "alice")
    for user_id in ("alice", "nobody", "", "a" * 256, "\0"):
        assert visible(await operation.send(client, place(operation, user_id))) == visible(without)
    assert visible(await client.get("/nowhere")) == visible(without)
    assert_problem(without, 404)
    assert await TASK.rows(connection, "alice") == before
    assert await TASK.rows(connection, "mallory") == []


@pytest.mark.parametrize("query", ["?limit=0", "?cursor=x", "?completed=maybe", "/7"])
async def test_what_is_wrong_with_a_request_is_said_to_the_paths_user_only(
    client: httpx.AsyncClient, issuer: Issuer, query: str
) -> None:
    assert_problem(await client.get(f"{ALICE}{query}", headers=issuer.bearer("alice")), 400)
    assert_problem(await client.get(f"{ALICE}{query}", headers=issuer.bearer("mallory")), 404)
    assert_problem(await client.get(f"{ALICE}{query}"), 401)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [(b"[", "application/json", 400), (b"x", "text/plain", 415), (b" " * 2_000_000, "application/json", 413)],
)
async def test_a_body_that_is_no_json_is_refused_before_anybody_is_asked_for(
    client: httpx.AsyncClient, issuer: Issuer, body: bytes, media_type: str, status: int
) -> None:
    for headers in ({}, issuer.bearer("alice"), issuer.bearer("mallory")):
        response = await client.post(ALICE, content=body, headers={"Content-Type": media_type, **headers})
        assert_problem(response, status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/docs", 200),
        ("GET", "/docs/files/swagger-ui.css", 200),
        ("GET", "/openapi.json", 200),
        # The OpenAPI document, which is public, says this anyway.
        ("GET", "/nowhere", 404),
        ("GET", "/api", 404),
        ("GET", "/api/alice", 404),
        ("GET", "/api/alice/tasks/a/b", 404),
        ("DELETE", ALICE, 405),
        ("OPTIONS", ALICE, 405),
        ("GET", f"{ALICE}/{MISSING_ID}/complete", 405),
    ],
)
async def test_what_is_nobodys_is_open(
    client: httpx.AsyncClient, issuer: Issuer, method: str, path: str, status: int
) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, issuer.bearer("mallory")):
        assert (await client.request(method, path, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "user_id", ["a/b", "auth0|65\u00e9", "\u20ac", "a b", "%2F", "a%2Fb", "user:1", "a?b#c", "a" * 255, "tasks"]
)
async def test_the_path_is_compared_decoded(client: httpx.AsyncClient, issuer: Issuer, user_id: str) -> None:
    client.headers.update(issuer.bearer(user_id))
    path = f"/api/{quote(user_id, safe='')}/tasks"
    task = await create(client, path)
    assert task["user_id"] == user_id
    for spelt in (path, "/api/" + "".join(f"%{byte:02X}" for byte in user_id.encode()) + "/tasks"):
        assert (await client.get(spelt)).json() == [task]
        assert (await client.get(f"{spelt}/{task['id']}")).json() == task


@pytest.mark.parametrize(
    ("signed_in", "asked"),
    [
        ("alice", "Alice"),
        ("alice", "alice "),
        ("alice", "alice/"),
        ("alice/tasks", "alice"),
        ("a/b", "a%2Fb"),
        ("jos\u00e9", "jose\u0301"),
        ("alice", "\uff41lice"),
        ("alice", "alice%00"),
    ],
    ids=ascii,
)
async def test_users_are_told_apart_by_every_character(
    client: httpx.AsyncClient, issuer: Issuer, signed_in: str, asked: str
) -> None:
    for one, other in ((signed_in, asked), (asked, signed_in)):
        response = await client.get(f"/api/{quote(other, safe='')}/tasks", headers=issuer.bearer(one))
        assert_problem(response, 404)


async def test_both_ways_answer_alike(settings: Settings, issuer: Issuer) -> None:
    short, own = create_app(settings), create_app(settings)
    own.user_middleware = [layer for layer in own.user_middleware if layer.cls is not FastRoutes]  # type: ignore[comparison-overlap]
    tokens: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer x"},
        issuer.bearer(exp=1),
        issuer.bearer("alice"),
        issuer.bearer("mallory"),
    ]
    bodies: list[dict[str, Any]] = [{}, {"json": {"title": "x"}}, {"json": {}}, {"content": b"["}, {"content": b"x"}]
    paths = [*OPERATIONS, ("GET", f"{ALICE}?limit=0", None), ("GET", "/api//tasks", None), ("HEAD", ALICE, None)]
    async with (
        short.router.lifespan_context(short),
        own.router.lifespan_context(own),
        client_of(short) as one,
        client_of(own) as other,
    ):
        for (method, path, _), headers, body in itertools.product(paths, tokens, bodies):
            options = {**body, "headers": {"X-Request-ID": "same", **headers}}
            answers = [await client.request(method, path, **options) for client in (one, other)]
            assert visible(answers[0]) == visible(answers[1])


class TestKeys:
    async def test_requests_at_once_share_the_first_fetch(self, settings: Settings, issuer: Issuer) -> None:
        issuer.delay_seconds = 0.2
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            client.headers.update(issuer.bearer())
            answers = await asyncio.gather(*(client.get(ALICE) for _ in range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert issuer.asked == {OPENID: 1, KEYS: 1}

    async def test_without_keys_the_service_is_unavailable(self, settings: Settings, issuer: Issuer) -> None:
        issuer.status = 500
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            answers = [await client.get(ALICE, headers=issuer.bearer(user)) for user in ("alice", "mallory")]
            for answer in answers:
                assert_problem(answer, 503)
                assert answer.headers["retry-after"] == "1"
            # A request that needs no key does not need the issuer.
            assert_problem(await client.get(ALICE), 401)
            assert_problem(await client.get(ALICE, headers={"Authorization": "Bearer x"}), 401)
            assert (await client.get("/health/ready")).status_code == 200
        assert issuer.asked[OPENID] == 1

    async def test_known_keys_serve_while_the_issuer_is_away(self, alice: httpx.AsyncClient, issuer: Issuer) -> None:
        await alice.get(ALICE)
        issuer.status = 500
        assert (await alice.get(ALICE, headers=issuer.bearer(jti="another"))).status_code == 200

    async def test_a_storm_of_unknown_keys_asks_the_issuer_once(
        self, client: httpx.AsyncClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await client.get(ALICE, headers=issuer.bearer())
        monkeypatch.setattr("groundwork.auth.issuer.PAUSE_SECONDS", 600)
        for kid in range(200):
            assert_problem(await client.get(ALICE, headers=issuer.forged(f"forged-{kid}")), 401)
        assert issuer.asked[KEYS] <= 2

    @pytest.mark.usefixtures("short_pause")
    async def test_a_rotation_in_the_middle_of_a_load_fails_no_request(
        self, client: httpx.AsyncClient, issuer: Issuer
    ) -> None:
        async def load() -> list[int]:
            return [(await client.get(ALICE, headers=issuer.bearer())).status_code for _ in range(40)]

        async def rotate() -> None:
            """Rotate keys as issuers do: the new key is published before it signs, the old one while tokens need it."""
            new = new_key("EdDSA", "second")
            await asyncio.sleep(0.05)
            issuer.answers[KEYS]["keys"].append(public(new))
            await asyncio.sleep(0.05)
            issuer.signs_with = (new, "EdDSA")
            await asyncio.sleep(0.05)
            issuer.answers[KEYS]["keys"].pop(0)

        loads, _ = await asyncio.gather(asyncio.gather(*(load() for _ in range(10))), rotate())
        assert [set(statuses) for statuses in loads] == [{200}] * 10

    @pytest.mark.usefixtures("short_pause")
    async def test_a_withdrawn_key_takes_its_tokens_with_it(self, client: httpx.AsyncClient, issuer: Issuer) -> None:
        old = issuer.bearer()
        assert (await client.get(ALICE, headers=old)).status_code == 200
        issuer.use(new_key("ES256", "second"))
        assert (await client.get(ALICE, headers=issuer.bearer())).status_code == 200
        assert_problem(await client.get(ALICE, headers=old), 401)


class TestDocument:
    def test_every_operation_on_a_users_data_wants_a_token(self, app: FastAPI) -> None:
        document = app.openapi()
        schemathesis.openapi.from_dict(document).validate()
        ((name, scheme),) = document["components"]["securitySchemes"].items()
        assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
        for path, operations in document["paths"].items():
            for operation in operations.values():
                secured = "{user_id}" in path
                assert operation.get("security") == ([{name: []}] if secured else None)
                assert ("401" in operation["responses"]) == secured
                assert not secured or {"404", "503"} <= set(operation["responses"])
                if secured:
                    assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]

    async def test_the_problem_is_as_documented(self, client: httpx.AsyncClient, app: FastAPI) -> None:
        problem = assert_problem(await client.get(ALICE), 401)
        document = app.openapi()
        responses = document["paths"]["/api/{user_id}/tasks"]["get"]["responses"]
        examples = examples_of(document, responses["401"]["content"]["application/problem+json"])
        assert examples.keys() == {"Unauthenticated", "InvalidToken"}
        assert examples["Unauthenticated"] == problem

    async def test_the_examples_of_404_are_what_happens(self, alice: httpx.AsyncClient, app: FastAPI) -> None:
        document = app.openapi()
        responses = document["paths"]["/api/{user_id}/tasks/{task_id}"]["get"]["responses"]
        examples = examples_of(document, responses["404"]["content"]["application/problem+json"])
        assert examples == {
            "NotFound": assert_problem(await alice.get(f"/api/bob/tasks/{MISSING_ID}"), 404),
            "TaskNotFound": assert_problem(await alice.get(f"{ALICE}/{MISSING_ID}"), 404),
        }


class TestOff:
    @pytest.fixture
    def settings(self, service_url: str) -> Settings:
        return Settings.model_validate({"database_url": service_url})

    async def test_nothing_of_it_is_there(self, client: httpx.AsyncClient, app: FastAPI, issuer: Issuer) -> None:
        assert (await client.get(ALICE)).status_code == 200
        assert (await client.get(ALICE, headers={"Authorization": "Bearer x"})).status_code == 200
        document = app.openapi()
        assert "securitySchemes" not in document["components"]
        assert document["security"] == []
        assert "security" not in str(document["paths"])
        assert "401" not in str(document["paths"])
        assert not issuer.asked

    async def test_nothing_of_it_is_imported(self) -> None:
        code = (
            "import sys; from app.core.config import Settings; from app.main import create_app;"
            "create_app(Settings(database_url='postgresql://localhost/none'));"
            "print([name for name in sys.modules if name.split('.')[0] in ('joserfc', 'cryptography')])"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"[]\n"


class TestTokensThatNoKnownKeyFits:
    """A token that no known key verifies is refused with 401, or with 503 if there may be newer keys."""

    async def test_one_that_no_known_key_fits_is_503_while_the_issuer_is_slow(
        self, issuer: Issuer, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "FETCH_SECONDS", 0.3)
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
        assert (await alice.get("/api/alice/tasks")).status_code == 200
        issuer.delay_seconds = 1
        new = new_key("ES256", "new")
        for _ in range(2):
            token = sign(new, issuer.claims(), algorithm="ES256")
            answer = await alice.get("/api/alice/tasks", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert (await alice.get("/api/alice/tasks")).status_code == 200
        issuer.delay_seconds = 0
        issuer.use(new)
        answer = await alice.get("/api/alice/tasks", headers=issuer.bearer())
        assert answer.status_code == 200

    async def test_and_in_the_pause_after_it(
        self, issuer: Issuer, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
        assert (await alice.get("/api/alice/tasks")).status_code == 200
        monkeypatch.setattr(module, "PAUSE_SECONDS", 3600)
        issuer.status = 500
        for _ in range(2):
            answer = await alice.get("/api/alice/tasks", headers=issuer.forged("unknown"))
            assert answer.status_code == 503
        assert issuer.asked[OPENID] == 2

    @pytest.mark.usefixtures("short_pause")
    async def test_while_the_issuer_answers_it_is_401(self, issuer: Issuer, alice: httpx.AsyncClient) -> None:
        answer = await alice.get("/api/alice/tasks", headers=issuer.forged("unknown"))
        assert answer.status_code == 401
        assert issuer.asked[KEYS] >= 1
