"""No request leaves a reference cycle, whatever its response is. So the garbage collector may run rarely."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from heapq import heapify
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Send

from app.core.config import Settings
from app.main import create_app
from groundwork.data.database import Database
from groundwork.errors import Conflict
from groundwork.http.routing import UserId, router_of
from groundwork.serve.application import Application
from groundwork.serve.application import create_app as create_service

REPEATS = 5
_JSON = [(b"content-type", b"application/json")]
_TASKS = "/api/alice/tasks"
_MISSING = f"{_TASKS}/00000000-0000-7000-8000-000000000000"

REQUESTS: dict[str, tuple[str, str, list[tuple[bytes, bytes]], bytes, int]] = {
    "list": ("GET", _TASKS, [], b"", 200),
    "create": ("POST", _TASKS, _JSON, b'{"title": "x"}', 201),
    "create with a key": ("POST", _TASKS, [*_JSON, (b"idempotency-key", b'"a"')], b'{"title": "x"}', 201),
    "a key used twice": ("POST", _TASKS, [*_JSON, (b"idempotency-key", b'"b"')], b'{"title": "y"}', 409),
    "missing": ("GET", _MISSING, [], b"", 404),
    "missing to update": ("PUT", _MISSING, _JSON, b'{"title": "x"}', 404),
    "missing to delete": ("DELETE", _MISSING, [], b"", 404),
    "invalid body": ("POST", _TASKS, _JSON, b'{"title": ""}', 400),
    "invalid JSON": ("POST", _TASKS, _JSON, b"{", 400),
    "invalid cursor": ("GET", f"{_TASKS}?cursor=x", [], b"", 400),
    "invalid condition": ("PUT", _MISSING, [*_JSON, (b"if-match", b"x")], b'{"title": "x"}', 400),
    "invalid key": ("POST", _TASKS, [*_JSON, (b"idempotency-key", b'"')], b'{"title": "x"}', 400),
    "invalid path": ("GET", "/api/%ff/tasks", [], b"", 400),
    "no route": ("GET", "/nothing", [], b"", 404),
    "no method": ("DELETE", _TASKS, [], b"", 405),
    "no media type": ("POST", _TASKS, [(b"content-type", b"text/plain")], b"x", 415),
    "too large": ("POST", _TASKS, [*_JSON, (b"content-length", b"2000000")], b"", 413),
    "head of a list": ("HEAD", _TASKS, [], b"", 200),
    "head of a missing task": ("HEAD", _MISSING, [], b"", 404),
    "live": ("GET", "/health/live", [], b"", 200),
    "ready": ("GET", "/health/ready", [], b"", 200),
    "document": ("GET", "/openapi.json", [], b"", 200),
    "docs": ("GET", "/docs", [], b"", 200),
}


@pytest.fixture(name="app")
async def _with_open_connection(app: Application) -> Application:
    await _open_connection(app)
    return app


async def _open_connection(app: FastAPI) -> None:
    """Let the service open the connection of its start now. asyncpg leaves cycles when it opens one."""
    await _ask(app, "GET", "/health/ready", [], b"")


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _scope(method: str, target: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def _ask(app: FastAPI, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    statuses: list[int] = []
    bodies = iter([body])

    async def receive() -> Message:
        for each in bodies:
            return {"type": "http.request", "body": each, "more_body": False}
        return await asyncio.Future()  # the client neither sends more nor leaves

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await _serve(app, _scope(method, target, headers), receive, send)
    return statuses[0]


async def _serve(app: FastAPI, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve a request as the server does: in a task of its own, and so in a context of its own."""
    await asyncio.create_task(app(scope, receive, send))


def _drop_cancelled_timers() -> None:
    """asyncio keeps cancelled timers for some time, and with them their tasks' contexts. uvloop does not."""
    timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    timers[:] = [timer for timer in timers if not timer.cancelled()]
    heapify(timers)


async def _leaves(work: Callable[[], Awaitable[Any]]) -> Counter[str]:
    """The objects that only the garbage collector can free, after the work was done several times.

    Earlier objects are frozen, because it can take several collections to close the coroutines of an earlier test.
    """
    await work()
    gc.collect()
    gc.freeze()
    try:
        for _ in range(REPEATS):
            await work()
        _drop_cancelled_timers()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        gc.unfreeze()
    found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    gc.garbage.clear()
    return found


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_leaves_no_cycle(app: Application, name: str, caplog: pytest.LogCaptureFixture) -> None:
    *request, status = REQUESTS[name]
    await _ask(app, "POST", _TASKS, [*_JSON, (b"idempotency-key", b'"b"')], b'{"title": "x"}')

    async def work() -> None:
        assert await _ask(app, *request) == status  # type: ignore[arg-type]
        caplog.clear()

    assert await _leaves(work) == Counter()


async def test_a_client_that_leaves_within_its_body_leaves_no_cycle(app: Application) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    async def work() -> None:
        await _serve(app, _scope("POST", _TASKS, _JSON), receive, send)

    assert await _leaves(work) == Counter()


async def test_an_absent_database_leaves_no_cycle(caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql://nobody:x@127.0.0.1:1/none"
    app = create_app(Settings.model_validate({"database_url": url, "database_wait_seconds": 0.01}))
    async with app.router.lifespan_context(app):

        async def work() -> None:
            assert await _ask(app, "GET", _TASKS, [], b"") == 503
            caplog.clear()

        assert await _leaves(work) == Counter()


async def test_a_refusal_under_overload_leaves_no_cycle(
    app: Application, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "overloaded", True)

    async def work() -> None:
        assert await _ask(app, "GET", _TASKS, [], b"") == 503
        caplog.clear()

    assert await _leaves(work) == Counter()


async def test_a_whole_stream_leaves_no_cycle(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Only a whole stream is tested: if one is cancelled, Starlette's own tasks leave cycles."""
    router = router_of("parts")

    async def content() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"
            await asyncio.sleep(0)

    @router.get("")
    async def parts(user_id: UserId) -> StreamingResponse:
        return StreamingResponse(content())

    async def work() -> None:
        assert await _ask(app, "GET", "/api/alice/parts", [], b"") == 200
        caplog.clear()

    app = create_service(settings, resources=[router])
    async with app.router.lifespan_context(app):
        await _open_connection(app)
        assert await _leaves(work) == Counter()


SOCKETS: dict[str, tuple[str, list[Message]]] = {
    "the client leaves": (
        "",
        [{"type": "websocket.receive", "text": "x"}, {"type": "websocket.disconnect", "code": 1001}],
    ),
    "the handler closes": ("", [{"type": "websocket.receive", "text": "close"}]),
    "the handler fails": ("", [{"type": "websocket.receive", "text": "fail"}]),
    "refused": ("/refused", []),
    "no route": ("/nothing", []),
}


@pytest.mark.parametrize("name", SOCKETS)
async def test_a_websocket_leaves_no_cycle(settings: Settings, caplog: pytest.LogCaptureFixture, name: str) -> None:
    pytest.importorskip("websockets", reason="the package websockets is not installed")
    path, messages = SOCKETS[name]
    router = router_of("socket")

    @router.websocket("")
    async def echo(websocket: WebSocket, user_id: UserId) -> None:
        await websocket.accept()
        while True:
            text = await websocket.receive_text()
            if text == "close":
                await websocket.close()
                return
            if text == "fail":
                raise RuntimeError(text)
            await websocket.send_text(text)

    @router.websocket("/refused")
    async def refused(websocket: WebSocket, user_id: UserId) -> None:
        raise Conflict

    async def work() -> None:
        incoming = iter([{"type": "websocket.connect"}, *messages])
        sent: list[str] = []

        async def receive() -> Message:
            return next(incoming)

        async def send(message: Message) -> None:
            sent.append(message["type"])

        scope = _scope("GET", f"/api/alice/socket{path}", [])
        await _serve(
            app,
            {**scope, "type": "websocket", "subprotocols": [], "extensions": {"websocket.http.response": {}}},
            receive,
            send,
        )
        assert sent
        caplog.clear()

    app = create_service(settings.model_copy(update={"websockets": True}), resources=[router])
    async with app.router.lifespan_context(app):
        await _open_connection(app)
        assert await _leaves(work) == Counter()
