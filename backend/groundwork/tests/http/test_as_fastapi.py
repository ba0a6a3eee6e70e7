"""What a team adds to the application works as with FastAPI alone, with the fast routes and without them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.main import create_app
from groundwork.fast.fast_routes import FastRoutes
from groundwork.serve.application import Application
from groundwork.testing.http import client_of
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem
from groundwork.tests.stock import create_stock_app

JSON = {"content-type": "application/json"}


@pytest.fixture(params=["fast routes", "FastAPI's own", "fast=False"])
def made(request: pytest.FixtureRequest, settings: Settings) -> Application:
    """The application, not started."""
    app = create_stock_app(settings) if request.param == "fast=False" else create_app(settings)
    if request.param == "FastAPI's own":
        app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not FastRoutes]  # type: ignore[comparison-overlap]

    @app.get("/fails/{kind}")
    async def fails(kind: str) -> str:
        if kind == "http":
            raise HTTPException(500, "known")
        raise ValueError(kind)

    return app


@pytest.fixture
async def team(made: Application) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application. A test adds to the application before the first request."""
    async with made.router.lifespan_context(made), client_of(made) as client:
        yield client


async def _coroutine(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{request.url.path} {error!r}", 599, headers={"x-own": "yes"})


def _function(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{request.url.path} {error!r}", 599, headers={"x-own": "yes"})


class _Callable:
    async def __call__(self, request: Request, error: Exception) -> Response:
        return await _coroutine(request, error)


@pytest.mark.parametrize("kind", [Exception, 500])
@pytest.mark.parametrize("handler", [_coroutine, _function, _Callable()])
async def test_the_teams_own_handler_answers_to_defects(
    team: httpx.AsyncClient, made: Application, kind: Any, handler: Any
) -> None:
    made.add_exception_handler(kind, handler)
    answer = await team.get("/fails/x")
    assert (answer.status_code, answer.headers["x-own"]) == (599, "yes")
    assert answer.text == "/fails/x ValueError('x')"
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    # FastAPI calls this handler only for errors that no other one handles.
    assert_problem(await team.get("/fails/http"), 500)
    assert_problem(await team.get(f"{ALICE}/{MISSING_ID}"), 404)


async def test_a_handler_of_defects_that_fails_itself_is_a_defect(
    team: httpx.AsyncClient, made: Application, caplog: pytest.LogCaptureFixture
) -> None:
    @made.exception_handler(Exception)
    async def on_error(request: Request, error: Exception) -> Response:
        raise KeyError

    assert_problem(await team.get("/fails/x"), 500)
    assert "own exception handler failed" in caplog.text


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"bare"})


_KEPT: list[tuple[bytes, bytes]] = [(b"x-kept", b"1")]
_KEPT_START: Any = {"type": "http.response.start", "status": 200, "headers": _KEPT}


async def _keeping(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that sends the same message object each time."""
    await send(_KEPT_START)
    await send({"type": "http.response.body", "body": b"kept"})


def _with_headers(headers: Any) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers()})
        await send({"type": "http.response.body", "body": b"x"})

    return app


@pytest.mark.parametrize(
    "mounted",
    [
        _bare,
        _keeping,
        _with_headers(lambda: ((b"x-a", b"1"),)),
        _with_headers(lambda: iter([[b"x-a", b"1"]])),
        _with_headers({b"x-a": b"1"}.items),
    ],
    ids=["none", "kept", "tuple", "iterator of lists", "view"],
)
async def test_a_mounted_application_may_send_headers_of_any_kind(
    team: httpx.AsyncClient, made: Application, mounted: ASGIApp
) -> None:
    made.mount("/mounted", mounted)
    for _ in range(3):
        answer = await team.get("/mounted/x")
        assert answer.status_code == 200
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers["x-request-id"]
    assert _KEPT == [(b"x-kept", b"1")]
    assert _KEPT_START == {"type": "http.response.start", "status": 200, "headers": _KEPT}


async def test_labels_hold_the_whole_template(
    team: httpx.AsyncClient,
    made: Application,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "app.access")

    async def text(request: Request) -> Response:
        return PlainTextResponse("text")

    inner = APIRouter(prefix="/inner")

    @inner.get("/{one}")
    async def one(one: int) -> int:
        return one

    outer = APIRouter(prefix="/outer/{three}")
    outer.include_router(inner)
    outer.add_route("/plain/{two}", text)
    made.include_router(outer, prefix="/v2")
    made.include_router(outer, prefix="/v3")
    sub = FastAPI()
    sub.include_router(outer, prefix="/v4")
    made.mount("/sub/{four}", sub)
    made.mount("/bare/{four}", _bare)
    made.add_route("/function/{name}", text)
    expected = {
        "/v2/outer/a/inner/1": "/v2/outer/{three}/inner/{one}",
        "/v3/outer/a/inner/1": "/v3/outer/{three}/inner/{one}",
        "/v2/outer/a/inner/x": "/v2/outer/{three}/inner/{one}",
        "/v2/outer/a%20b/inner/1": "/v2/outer/{three}/inner/{one}",
        # FastAPI gives a plain function the prefix of `include_router`, but not the prefix of its own router.
        "/v2/plain/b": "/v2/plain/{two}",
        "/sub/x/v4/outer/a/inner/1": "/sub/{four}/v4/outer/{three}/inner/{one}",
        "/sub/x/nothing": "/sub/{four}/{path}",
        "/bare/x/y": "/bare/{four}/{path}",
        "/function/a": "/function/{name}",
        "/nothing": "",
        ALICE: "/api/{user_id}/tasks",
    }
    for path in expected:
        await team.get(path)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"app.access"' in line]
    assert [line["route"] for line in lines] == list(expected.values())


async def test_layers_further_out_see_the_route_and_the_servers_path(
    team: httpx.AsyncClient, made: Application
) -> None:
    @made.middleware("http")
    async def look(request: Request, call_next: Any) -> Any:
        before = request.scope["path"]
        response = await call_next(request)
        response.headers["x-route"] = request.scope["route"].path_format
        response.headers["x-same"] = str(request.scope["path"] == before)
        return response

    for path in (ALICE, "/api/a%2Fb/tasks", "/api/%E2%82%AC/tasks"):
        answer = await team.get(path)
        assert (answer.headers["x-route"], answer.headers["x-same"]) == ("/api/{user_id}/tasks", "True")


async def _scope_of(app: ASGIApp, path: str, *, without: tuple[str, ...]) -> httpx.Response:
    """The answer to a request in whose scope the server leaves out optional keys of ASGI."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await app({name: value for name, value in scope.items() if name not in without}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://test") as client:
        return await client.post(path, json={"title": "x"})


async def test_a_server_may_leave_out_what_is_optional(made: Application) -> None:
    async with made.router.lifespan_context(made):
        for path, location in ((ALICE, ALICE), ("/api/a%20b%25/tasks", "/api/a%20b%25/tasks")):
            answer = await _scope_of(made, path, without=("raw_path", "root_path", "client", "server", "extensions"))
            assert answer.status_code == 201
            assert answer.headers["location"] == f"{location}/{answer.json()['id']}"


async def test_header_pairs_may_be_lists_in_a_tuple(made: Application) -> None:
    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await made({**scope, "headers": tuple(list(pair) for pair in scope["headers"])}, receive, send)

    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://test") as client,
    ):
        headers = {"Idempotency-Key": '"a"', "If-None-Match": '"b"'}
        assert (await client.post(ALICE, json={"title": "x"}, headers=headers)).status_code == 201


class Waiting:
    """An endpoint that waits until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def __call__(self) -> str:
        self.began.set()
        await asyncio.sleep(60)
        return ""


@pytest.fixture
def waiting(made: Application) -> asyncio.Event:
    endpoint = Waiting()

    @made.get("/waits")
    async def waits() -> str:
        return await endpoint()

    @made.get("/limits/{kind}")
    async def limits(kind: str) -> str:
        if kind == "anyio":
            with anyio.move_on_after(0.01):
                await asyncio.sleep(60)
            return "moved on"
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"
        return ""

    return endpoint.began


SECONDS = 1
"""A limit that the machine itself, however busy, does not reach."""


class Limit:
    """A team's middleware that limits the time of every request."""

    def __init__(self, app: ASGIApp, kind: str) -> None:
        self._app = app
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._kind == "anyio":
                with anyio.fail_after(SECONDS):
                    await self._app(scope, receive, send)
            else:
                async with asyncio.timeout(SECONDS):
                    await self._app(scope, receive, send)
        except TimeoutError:
            await PlainTextResponse("out of time", 504)(scope, receive, send)


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("kind", ["anyio", "asyncio"])
async def test_a_timeout_around_answers(made: Application, kind: str) -> None:
    limited = Limit(made, kind)
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=httpx.ASGITransport(limited), base_url="http://test") as client,
    ):
        answer = await client.get("/waits")
        assert (answer.status_code, answer.text) == (504, "out of time")
        # The cancelled request has left nothing behind.
        assert (await client.get("/health/live")).status_code == 200


@pytest.mark.usefixtures("waiting")
async def test_a_timeout_inside_is_the_handlers_own(team: httpx.AsyncClient) -> None:
    assert (await team.get("/limits/anyio")).json() == "moved on"
    assert (await team.get("/limits/asyncio")).json() == "timed out"


async def test_who_is_cancelled_is_cancelled(team: httpx.AsyncClient, waiting: asyncio.Event) -> None:
    task = asyncio.create_task(team.get("/waits"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_at_the_servers_stop_the_client_is_told(team: httpx.AsyncClient, waiting: asyncio.Event) -> None:
    task = asyncio.create_task(team.get("/waits"))
    await waiting.wait()
    task.cancel("Task cancelled, timeout graceful shutdown exceeded")
    assert_problem(await task, 503)
