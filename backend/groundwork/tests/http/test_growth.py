"""If the input is 64 times as long, the work is at most 64 times as much, wherever a client's bytes are read.

The tests measure this process's CPU time, to which other programs do not add. They compare two such times, and never
one with the clock. Linear work has a ratio of at most 64, because each request has a constant part; the limit is twice
that. Quadratic work has a ratio of up to 4,096. It passes only if its whole cost is so small that the constant part
hides it. The requests go through the service's own protocol and the whole application, so a new header, parameter or
field is measured too.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from typing import Any

import pytest
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState

from groundwork.fast.connection import BoundedProtocol
from groundwork.serve.settings import Settings

pytestmark = pytest.mark.fast

FACTOR = 64
LIMIT = 2 * FACTOR
SMALL_HEAD, SMALL_BODY, SMALL_PARTS = 900, 12_000, 12_000
ATTEMPTS = 3
WAIT_SECONDS = 100
TASK = b"/api/alice/tasks/0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c"

BEGINNINGS = [b"", b'"a"']
FILLERS = [b",", b" ", b"\t ,", b'"', b'\\"', b'"1-a", ', b"W/", b';a="b"', b"9", b"0-0,", b"%41", b"a=b;"]
HEADERS = [
    b"Accept",
    b"Access-Control-Request-Headers",
    b"Access-Control-Request-Method",
    b"Authorization",
    b"Connection",
    b"Content-Encoding",
    b"Content-Length",
    b"Content-Type",
    b"Cookie",
    b"Expect",
    b"Forwarded",
    b"Host",
    b"Idempotency-Key",
    b"If-Match",
    b"If-Modified-Since",
    b"If-None-Match",
    b"If-Range",
    b"Origin",
    b"Range",
    b"TraceParent",
    b"TraceState",
    b"Transfer-Encoding",
    b"Upgrade",
    b"X-Forwarded-For",
    b"X-Request-ID",
]
LINES = [b"GET " + TASK, b"POST /api/alice/tasks", b"OPTIONS /api/alice/tasks", b"GET /docs/files/swagger-ui.css"]
TARGETS = {
    "a path": b"GET /%b",
    "a user": b"GET /api/%b/tasks",
    "a task": b"GET /api/alice/tasks/%b",
    "a file": b"GET /docs/files/%b",
    "a URL's host": b"GET http://%b/",
    "a URL's path": b"GET http://test/%b",
    "the query": b"GET /api/alice/tasks?%b",
    "the limit": b"GET /api/alice/tasks?limit=%b",
    "the cursor": b"GET /api/alice/tasks?cursor=%b",
    "completed": b"GET /api/alice/tasks?completed=%b",
}
TARGET_FILLERS = [b"a", b"/", b"/a", b"../", b"%2F", b"%", b"%zz", b"%C3%A9", b"9", b"0", b"_", b"=", b"&", b"a&",
                  b"a=b&", b"limit=1&", b"+", b";", b"-", b".", b":", b"@"]  # fmt: skip
BODIES: dict[str, Callable[[int], bytes]] = {
    "digits": lambda size: b'{"title": ' + b"9" * size + b"}",
    "decimals": lambda size: b'{"title": 0.' + b"9" * size + b"}",
    "an exponent": lambda size: b'{"title": 1e' + b"9" * size + b"}",
    "completed in digits": lambda size: b'{"title": "x", "completed": ' + b"9" * size + b"}",
    "blanks in the title": lambda size: b'{"title": "a' + b" " * size + b'b"}',
    "blanks": lambda size: b'{"title": "' + b" " * size + b'"}',
    "escapes": lambda size: b'{"title": "' + b"\\u00e9" * (size // 6) + b'"}',
    "surrogates": lambda size: b'{"title": "' + b"\\ud83d\\ude00" * (size // 12) + b'"}',
    "a lone surrogate": lambda size: b'{"title": "' + b"a" * size + b'\\ud800"}',
    "NUL": lambda size: b'{"title": "' + b"\\u0000" * (size // 6) + b'"}',
    "a description": lambda size: b'{"title": "x", "description": "' + b"a" * size + b'"}',
    "one name many times": lambda size: b"{" + b'"title": 1, ' * (size // 12) + b'"title": "x"}',
    "many names": lambda size: json.dumps({f"{number:09}": number for number in range(size // 24)}).encode(),
    "an unknown array": lambda size: b'{"title": "x", "a": [' + b"1," * (size // 2) + b"1]}",
    "objects": lambda size: b'{"title": "x", "a": [' + b"{}," * (size // 3) + b"{}]}",
    "a deep array": lambda size: b"[" * size,
    "a deep object": lambda size: b'{"a":' * (size // 5),
    "blanks around": lambda size: b" " * size + b"{}",
    "no JSON": lambda size: b'"' * size,
    "quotes in the title": lambda size: b'{"title": "' + b'\\"' * (size // 2),
}


class _Transport(asyncio.Transport):
    """Collects what is sent. `closed` is set at the end of the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed.set()

    abort = close

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    resume_reading = write_eof = pause_reading


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"cors_origins": ("https://test.example",), "request_body_limit_bytes": 2_000_000}
    )


@pytest.fixture
def exchange(app: FastAPI) -> Callable[[Iterable[bytes]], Awaitable[bytes]]:
    """A function that sends pieces on one connection and returns what came back until it was closed."""
    config = Config(app, ws="none", lifespan="off", log_config=None, proxy_headers=False)
    config.load()

    async def exchange(pieces: Iterable[bytes]) -> bytes:
        transport = _Transport()
        protocol = BoundedProtocol(config, ServerState(), {}, client_seconds=WAIT_SECONDS)
        protocol.connection_made(transport)
        for piece in pieces:
            protocol.data_received(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_SECONDS):
            await transport.closed.wait()
        protocol.connection_lost(None)
        return bytes(transport.sent)

    return exchange


async def require_linear(work: Callable[[int], Awaitable[Any]], small: int, what: object) -> None:
    """Check that the work is linear. A failed check is repeated, because an import or a collection can disturb one."""
    ratios: list[float] = []
    while len(ratios) < ATTEMPTS:
        ratios.append(1 / await _cpu_seconds(work, small) * await _cpu_seconds(work, small * FACTOR))
        if ratios[-1] <= LIMIT:
            return
    raise AssertionError(f"{FACTOR} times the input made {min(ratios):.0f} times the work: {what}")


async def _cpu_seconds(work: Callable[[int], Awaitable[Any]], size: int) -> float:
    started = time.process_time()
    await work(size)
    return time.process_time() - started


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    lines = [line + b" HTTP/1.1", b"Host: test", b"Connection: close", *fields]
    if body:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])


def filled(filler: bytes, size: int) -> bytes:
    """A text of this size whose end does not fit the filler."""
    return (filler * (size // len(filler) + 1))[:size] + b"x"


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header(exchange: Callable[..., Awaitable[bytes]], name: bytes) -> None:
    for line, beginning, filler in product(LINES, BEGINNINGS, FILLERS):
        field = name + b": " + beginning
        await require_linear(
            lambda size: exchange([request(line, field + filled(filler, size))]),  # noqa: B023
            SMALL_HEAD,
            (line, field, filler),
        )


@pytest.mark.parametrize("target", TARGETS)
async def test_a_target(exchange: Callable[..., Awaitable[bytes]], target: str) -> None:
    for filler in TARGET_FILLERS:
        await require_linear(
            lambda size: exchange([request(TARGETS[target] % filled(filler, size))]),  # noqa: B023
            SMALL_HEAD,
            (target, filler),
        )


@pytest.mark.parametrize("body", BODIES)
async def test_a_body(exchange: Callable[..., Awaitable[bytes]], body: str) -> None:
    await require_linear(
        lambda size: exchange([request(b"POST /api/alice/tasks", body=BODIES[body](size))]), SMALL_BODY, body
    )


@pytest.mark.parametrize(
    "field", [b"A: b\r\n", b"Cookie: a=b\r\n", b"If-None-Match: \r\n", b'If-Match: "1-a"\r\n', b"Expect: a\r\n"]
)
async def test_many_fields(exchange: Callable[..., Awaitable[bytes]], field: bytes) -> None:
    fields = field[:-2] + b"\r\n"
    await require_linear(
        lambda size: exchange([request(b"GET " + TASK, (fields * (size // len(fields)))[:-2])]), SMALL_HEAD, field
    )


@pytest.mark.parametrize("upgrade", [b"", b"Connection: upgrade\r\nUpgrade: a\r\n"], ids=["plain", "upgrade"])
async def test_many_requests_in_one_piece(exchange: Callable[..., Awaitable[bytes]], upgrade: bytes) -> None:
    one = b"GET / HTTP/1.1\r\nHost: test\r\n" + upgrade + b"\r\n"
    await require_linear(
        lambda size: exchange([one * (size // len(one)) + request(b"GET /")]), 2 * SMALL_HEAD, "pipelined requests"
    )


async def test_a_body_in_one_byte_chunks(exchange: Callable[..., Awaitable[bytes]]) -> None:
    head = request(b"POST /api/alice/tasks", b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    await require_linear(lambda size: exchange([head + b"1\r\n \r\n" * size + b"2\r\n{}\r\n0\r\n\r\n"]), 400, "chunks")


async def test_a_head_in_one_byte_pieces(exchange: Callable[..., Awaitable[bytes]]) -> None:
    def pieces(size: int) -> Iterable[bytes]:
        whole = request(b"GET /" + b"a" * size, b"A: " + b"a" * size)
        return (whole[place : place + 1] for place in range(len(whole)))

    await require_linear(lambda size: exchange(pieces(size)), SMALL_HEAD // 2, "pieces of a head")


@pytest.mark.parametrize("content_type", [b"application/json", b"application/json; charset=utf-8", b"text/plain"])
async def test_a_body_in_one_byte_messages(app: FastAPI, content_type: bytes) -> None:
    """A slow client sends such messages. The protocol is left out, because it would cost more than the rest."""

    async def send(message: Any) -> None:
        pass

    async def post(size: int) -> None:
        left = size

        async def receive() -> Any:
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": b" ", "more_body": left > 0}

        path = "/api/alice/tasks"
        await app(
            {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": [(b"content-type", content_type)], "http_version": "1.1", "scheme": "http",
             "server": None, "client": None},
            receive,
            send,
        )  # fmt: skip

    await require_linear(post, SMALL_PARTS, "messages of a body")
