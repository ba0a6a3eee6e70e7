"""Whatever ends a connection, its memory is freed at once, without the garbage collector."""

import asyncio
import gc
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from groundwork.http.byte_budget import SMALL_BYTES, budget
from groundwork.tests.core.served import Served, serving

_GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
_LAST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n"
_MUCH = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
_UPGRADE = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
_SLOW = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n"
_LARGE = b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)
_go_on = threading.Event()


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/fails":
        raise ValueError
    if scope["path"] == "/slow":
        await _wait_for(_go_on)
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    body = b"x" * (8_000_000 if scope["path"] == "/large" else 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def _wait_for(event: threading.Event) -> None:
    while not event.is_set():  # noqa: ASYNC110 - it is another thread that sets it
        await asyncio.sleep(0.01)


@pytest.fixture
def served() -> Iterator[Served]:
    _go_on.clear()
    with serving(_app, timeout_keep_alive=1) as served:
        yield served
        _go_on.set()


@pytest.fixture(autouse=True)
def _no_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # pytest keeps log records with their tracebacks, which refer to the connection's objects.
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _read_to_end(client: socket.socket) -> bytes:
    answers = b""
    try:
        while part := client.recv(65536):
            answers += part
    except ConnectionResetError:
        pass
    return answers


def _closes(*parts: bytes) -> Callable[[Served, socket.socket], None]:
    """The client sends the parts, reads an answer to each, and closes the connection."""

    def end(served: Served, client: socket.socket) -> None:
        for part in parts:
            client.sendall(part)
            if part in (_GET, _UPGRADE):
                assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        _until(lambda: bool(served.state.connections))

    return end


def _resets(served: Served, client: socket.socket) -> None:
    _closes(_GET)(served, client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _is_closed(sent: bytes, answer: bytes) -> Callable[[Served, socket.socket], None]:
    """The service ends the connection by itself."""

    def end(served: Served, client: socket.socket) -> None:
        client.sendall(sent)
        assert answer in _read_to_end(client)

    return end


def _leaves_a_running_handler(served: Served, client: socket.socket) -> None:
    client.sendall(_SLOW)
    assert _until(lambda: bool(served.state.tasks))
    # A close in order would only say that the client has nothing more to send.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()
    assert _until(lambda: not served.state.connections)
    assert served.state.tasks
    _go_on.set()


def _leaves_a_pipeline(served: Served, client: socket.socket) -> None:
    client.sendall(_SLOW + _GET * 5 + _POST)
    assert _until(lambda: bool(served.state.tasks))
    # A close in order would only say that the client has nothing more to send.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()
    # With requests waiting nothing more is read, so the reset is seen when the first answer is written.
    _go_on.set()


def _reads_nothing(served: Served, client: socket.socket) -> None:
    client.sendall(_LARGE)
    assert _until(lambda: not served.state.tasks and bool(served.state.connections))
    assert _until(lambda: not served.state.connections)


def _handler_is_cancelled(served: Served, client: socket.socket) -> None:
    client.sendall(_SLOW)
    assert _until(lambda: bool(served.state.tasks))
    _cancel(served)
    client.recv(1000)


def _worker_ends(sent: bytes) -> Callable[[Served, socket.socket], None]:
    def end(served: Served, client: socket.socket) -> None:
        client.sendall(sent)
        if sent:
            assert client.recv(1000)
        served.call(lambda: [connection.shutdown() for connection in list(served.state.connections)])

    return end


def _sends_much(served: Served, client: socket.socket) -> None:
    """Send half of a body that is not small, and then nothing."""
    client.sendall(_MUCH + b"x" * 500_000)
    assert _until(lambda: budget.held_bytes >= 500_000)


def _sends_much_and_resets(served: Served, client: socket.socket) -> None:
    _sends_much(served, client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _sends_much_and_waits(served: Served, client: socket.socket) -> None:
    _sends_much(served, client)
    assert b" 408 " in _read_to_end(client)


def _sends_much_to_a_handler_that(ends: Callable[[Served], None]) -> Callable[[Served, socket.socket], None]:
    def end(served: Served, client: socket.socket) -> None:
        client.sendall(_MUCH.replace(b"POST / ", b"POST /slow ") + b"x" * 1_000_000)
        assert _until(lambda: budget.held_bytes > SMALL_BYTES)
        ends(served)
        assert client.recv(1000).startswith(b"HTTP/1.1 ")

    return end


def _takes_some(served: Served, client: socket.socket) -> None:
    client.sendall(_LARGE + _LARGE)
    assert _until(lambda: budget.held_bytes > 1_000_000)
    client.recv(100_000)


def _takes_all(served: Served, client: socket.socket) -> None:
    client.sendall(_LARGE + _LARGE + _LAST)
    assert len(_read_to_end(client)) > 16_000_000


def _cancel(served: Served) -> None:
    served.call(lambda: [task.cancel() for task in list(served.state.tasks)])


ENDINGS: dict[str, Callable[[Served, socket.socket], None]] = {
    "before a byte": _closes(),
    "after an exchange": _closes(_GET),
    "after several": _closes(_GET, _GET, _GET),
    "reset": _resets,
    "within a head": _closes(_GET[:-5]),
    "within a body": _closes(_POST + b"x"),
    "within a second head": _closes(_GET, _GET[:-5]),
    "upgrade ignored": _closes(_UPGRADE),
    "connection: close": _is_closed(_LAST, b" 200 "),
    "400": _is_closed(b"\x16\x03\r\n\r\n", b" 400 "),
    "400 after an answer": _is_closed(_GET + b"\x16\x03\r\n\r\n", b" 400 "),
    "431": _is_closed(b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000, b" 431 "),
    "408 in a head": _is_closed(_GET[:-5], b" 408 "),
    "408 in a body": _is_closed(_POST + b"x", b" 408 "),
    "idle for too long": _is_closed(_GET, b" 200 "),
    "idle from the start": _is_closed(b"", b""),
    "a handler that fails": _is_closed(b"GET /fails HTTP/1.1\r\nHost: test\r\n\r\n", b" 500 "),
    "leaves a running handler": _leaves_a_running_handler,
    "leaves a pipeline": _leaves_a_pipeline,
    "reads nothing": _reads_nothing,
    "handler is cancelled": _handler_is_cancelled,
    "sends half a body": _sends_much,
    "sends half a body and resets": _sends_much_and_resets,
    "sends half a body for too long": _sends_much_and_waits,
    "sends a body, and the handler answers": _sends_much_to_a_handler_that(lambda served: _go_on.set()),
    "sends a body, and the handler is cancelled": _sends_much_to_a_handler_that(_cancel),
    "sends much in a pipeline": _is_closed(
        _GET * 90 + _POST.replace(b": 1000", b": 60000") + b"x" * 60_000 + _LAST, b"close"
    ),
    "takes some of an answer": _takes_some,
    "takes all of an answer": _takes_all,
    "the worker ends": _worker_ends(b""),
    "the worker ends after an exchange": _worker_ends(_GET),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_closed_connection_is_free_at_once(served: Served, ending: str) -> None:
    client = served.connect()
    ENDINGS[ending](served, client)
    client.close()

    assert _until(lambda: bool(served.references) and not served.state.connections and not served.alive()), [
        (each, gc.get_referrers(each)) for each in served.alive()
    ]
    assert budget.held_bytes == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_closed_connection_leaves_nothing_to_the_collector(served: Served, ending: str) -> None:
    for _ in range(2):
        client = served.connect()
        ENDINGS[ending](served, client)
        client.close()
        assert _until(lambda: bool(served.references) and not served.state.connections and not served.state.tasks)
        _go_on.clear()

    def unreachable() -> list[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage]
        gc.garbage.clear()
        return found

    assert served.call(unreachable) == []


def test_what_is_given_back_early_is_given_back_once(served: Served) -> None:
    """An idle connection holds no bytes of the budget, whatever went over it before."""
    client = served.connect()
    for _ in range(3):
        client.sendall(_MUCH + b"x" * 1_000_000)
        assert client.recv(1000).endswith(b"xx")
        assert budget.held_bytes == 0
    client.close()


def test_beyond_the_budget_a_large_body_is_refused_and_a_small_one_is_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "limit_bytes", 600_000)
    with served.connect() as first, served.connect() as second, served.connect() as small:
        first.sendall(_MUCH + b"x" * 500_000)
        assert _until(lambda: budget.held_bytes >= 500_000)
        second.sendall(_MUCH + b"x" * 500_000)
        answer = second.recv(1000)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer.lower()
        small.sendall(_POST + b"x" * 1000)
        assert small.recv(1000).startswith(b"HTTP/1.1 200 ")
        first.sendall(b"x" * 400_000)
        assert first.recv(1000).startswith(b"HTTP/1.1 503 ")
        with served.connect() as third:
            third.sendall(_MUCH.replace(b"1000000", b"500000") + b"x" * 500_000)
            assert third.recv(1000).startswith(b"HTTP/1.1 200 ")
