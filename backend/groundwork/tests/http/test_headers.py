"""The headers of every response, whichever layer made it."""

import json
import logging
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from groundwork.observe import metrics
from groundwork.testing.http import client_of
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, assert_rejected

ORIGIN = "https://app.example.com"
OTHER = "https://evil.example.com"
EXPOSED = {
    "Allow",
    "Content-Disposition",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
}
EXPOSED |= {"X-Total-Count"}
# The headers that every page may read (Fetch standard, CORS-safelisted response-header name).
SAFELISTED = {
    "Cache-Control",
    "Content-Language",
    "Content-Length",
    "Content-Type",
    "Expires",
    "Last-Modified",
    "Pragma",
}
# The headers that only the browser or the connection uses.
OF_NO_USE = {"Connection", "Content-Security-Policy", "Vary", "X-Content-Type-Options"}
PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
# One request for each layer that can answer, and the status it answers.
ANSWERS = [
    ("GET", ALICE, {}, 200),
    ("POST", ALICE, {"json": {"title": "Buy milk"}}, 201),
    ("POST", ALICE, {"json": {}}, 400),
    ("GET", "/api/%FF/tasks", {}, 400),
    ("GET", f"{ALICE}/{MISSING_ID}", {}, 404),
    ("GET", "/nowhere", {}, 404),
    ("DELETE", ALICE, {}, 405),
    ("POST", ALICE, {"headers": {"Content-Length": "9999999"}}, 413),
    ("POST", ALICE, {"content": b"a"}, 415),
    ("GET", "/defect", {}, 500),
    ("GET", "/health/ready", {}, 200),
    ("GET", "/docs", {}, 200),
    ("GET", "/openapi.json", {}, 200),
    ("GET", "/", {}, 200),
    ("GET", "/", {"headers": {"Accept": "text/html"}}, 200),
]


def add_defect(app: FastAPI) -> None:
    @app.get("/defect")
    async def defect() -> None:
        raise RuntimeError


async def test_no_page_can_frame_the_one_that_calls_the_api(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs")).headers["content-security-policy"] == "frame-ancestors 'none'"


@pytest.mark.parametrize(("method", "path", "options", "status"), ANSWERS)
async def test_every_answer_is_safe_to_hand_to_a_browser(
    client: httpx.AsyncClient, app: FastAPI, method: str, path: str, options: dict[str, object], status: int
) -> None:
    add_defect(app)
    response = await client.request(method, path, **options)  # type: ignore[arg-type]
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == ("private, no-cache" if "etag" in response.headers else "no-store")
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert "server" not in response.headers
    assert "x-powered-by" not in response.headers
    names = [name for name, _ in response.headers.multi_items()]
    assert len(names) == len(set(names))


async def test_the_files_of_the_documentation_may_be_kept(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs/files/swagger-ui.css")
    assert response.headers["etag"]
    assert "cache-control" not in response.headers
    again = await client.get("/docs/files/swagger-ui.css", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("given", ["a", "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c", "trace_1.2-3", "x" * 128])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/health/live", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b"x" * 129, b"a b", b" a", b"caf\xc3\xa9", b"a\r\nSet-Cookie: b", b"a\n", b"<script>", b'"a"', b"a,b"],
)
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: bytes) -> None:
    response = await client.get("/health/live", headers={b"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_request_gets_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(10)}
    assert len(ids) == 10


class TestCORS:
    @pytest.fixture
    async def open_client(self, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
        """A client of a service that the pages of one origin may use."""
        app = create_app(settings.model_copy(update={"cors_origins": (ORIGIN,)}))
        add_defect(app)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client

    async def test_is_closed_by_default(self, client: httpx.AsyncClient) -> None:
        simple = await client.get(ALICE, headers={"Origin": ORIGIN})
        preflight = await client.options(ALICE, headers={"Origin": ORIGIN, **PREFLIGHT})
        assert (simple.status_code, preflight.status_code) == (200, 405)
        for response in (simple, preflight):
            assert not [name for name in response.headers if name.startswith("access-control-")]

    @pytest.mark.parametrize("path", [ALICE, f"{ALICE}/{MISSING_ID}", f"{ALICE}/{MISSING_ID}/complete"])
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def test_a_configured_origin_may_ask_for_every_operation(
        self, open_client: httpx.AsyncClient, path: str, method: str
    ) -> None:
        headers = {"Origin": ORIGIN, **PREFLIGHT, "Access-Control-Request-Method": method}
        response = await open_client.options(path, headers=headers)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert method in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-allow-headers"] == "content-type"
        assert "access-control-allow-credentials" not in response.headers

    @pytest.mark.parametrize("origin", [OTHER, f"{ORIGIN}.evil.example.com", "http://app.example.com", "null"])
    async def test_another_origin_may_not(self, open_client: httpx.AsyncClient, origin: str) -> None:
        preflight = await open_client.options(ALICE, headers={"Origin": origin, **PREFLIGHT})
        simple = await open_client.get(ALICE, headers={"Origin": origin})
        assert assert_rejected(preflight, "header", "Origin") == "cors"
        for response in (preflight, simple):
            assert "access-control-allow-origin" not in response.headers

    @pytest.mark.parametrize(
        ("headers", "refused"),
        [
            ({"Origin": OTHER}, ["Origin"]),
            ({"Access-Control-Request-Method": "BREW"}, ["Access-Control-Request-Method"]),
            ({"Access-Control-Request-Private-Network": "true"}, ["Access-Control-Request-Private-Network"]),
            (
                {"Origin": OTHER, "Access-Control-Request-Method": "BREW"},
                ["Origin", "Access-Control-Request-Method"],
            ),
        ],
    )
    @pytest.mark.parametrize("path", [ALICE, "/nowhere", "/health/live"])
    async def test_a_refused_preflight_is_a_problem_that_says_what_is_refused(
        self, open_client: httpx.AsyncClient, path: str, headers: dict[str, str], refused: list[str]
    ) -> None:
        answer = await open_client.options(path, headers={"Origin": ORIGIN, **PREFLIGHT, **headers})
        problem = assert_problem(answer, 400)
        assert [error["loc"] for error in problem["errors"]] == [["header", name] for name in refused]
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize(("origin", "status"), [(ORIGIN, 200), (OTHER, 400)])
    async def test_a_preflight_has_an_id_a_line_and_a_count(
        self,
        open_client: httpx.AsyncClient,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
        origin: str,
        status: int,
    ) -> None:
        caplog.set_level(logging.INFO)
        label = (metrics.REQUEST, "OPTIONS", "", str(status))
        before = metrics.counts.totals().labelled.get(label, [0.0, 0.0])
        answer = await open_client.options(ALICE, headers={"Origin": origin, **PREFLIGHT, "X-Request-ID": "one"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "one")
        assert answer.headers["x-content-type-options"] == "nosniff"
        event = json.loads(capsys.readouterr().err)
        assert (event["request_id"], event["method"], event["status"]) == ("one", "OPTIONS", status)
        assert sum(metrics.counts.totals().labelled[label][1:]) == sum(before[1:]) + 1

    @pytest.mark.parametrize(("method", "path", "options", "status"), ANSWERS)
    async def test_a_page_can_read_every_answer_and_its_headers(
        self, open_client: httpx.AsyncClient, method: str, path: str, options: dict[str, dict[str, str]], status: int
    ) -> None:
        headers = {**options.get("headers", {}), "Origin": ORIGIN}
        response = await open_client.request(method, path, **{**options, "headers": headers})  # type: ignore[arg-type]
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["vary"] == ("Accept, Origin" if path == "/" else "Origin")
        exposed = response.headers["access-control-expose-headers"]
        assert set(exposed.split(", ")) == EXPOSED
        hidden = {name.title() for name in response.headers} - {
            name.title() for name in EXPOSED | SAFELISTED | OF_NO_USE
        }
        assert not {name for name in hidden if not name.startswith("Access-Control-")}
