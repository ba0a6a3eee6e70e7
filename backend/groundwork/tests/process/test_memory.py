"""How much memory many clients together can use in a worker: `groundwork.http.byte_budget`, over real sockets."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from groundwork.http.byte_budget import DEFAULT_BYTES
from groundwork.tests.process import server

HOST = b" HTTP/1.1\r\nHost: test\r\n"
# The limit for one of two workers in a container of 384 MiB. They and gunicorn's process share about 50 MB.
LIMIT_MB = 170


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    variables = {
        "DATABASE_URL": module_database,
        "WEB_CONCURRENCY": "1",
        # A client that reads nothing holds its memory until it leaves, however slow the machine is.
        "CLIENT_WAIT_SECONDS": "600",
        "DATABASE_QUEUE_SECONDS": "60",
        "DATABASE_WAIT_SECONDS": "60",
    }
    with server.running(tmp_path_factory.mktemp("memory"), **variables) as service:
        yield service
    assert "Traceback" not in service.log()


@pytest.fixture
async def largest_list(service: server.Server, module_database: str) -> bytes:
    """A request for the largest possible list. In JSON, a control character takes six bytes."""
    user = uuid4().hex
    connection = await asyncpg.connect(module_database)
    await connection.execute(
        "INSERT INTO tasks (user_id, id, title, description)"
        " SELECT $1, gen_random_uuid(), repeat(chr(1), 200), repeat(chr(1), 1000) FROM generate_series(1, 1000)",
        user,
    )
    await connection.close()
    return b"GET /api/" + user.encode() + b"/tasks" + HOST + b"\r\n"


def memory_mb(service: server.Server) -> float:
    [pid] = service.workers()
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def begin(service: server.Server, request: bytes) -> socket.socket:
    """A client that sends this request as far as the service reads it, and reads no answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", service.port))
    client.settimeout(0.5)
    with suppress(OSError):
        client.sendall(request)
    return client


def requires_service(service: server.Server) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert client.post("/api/bob/tasks", json={"title": "x"}).status_code == 201
        assert client.get("/api/bob/tasks", params={"limit": 5}).status_code == 200
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200


_BODY = b"POST /api/alice/tasks" + HOST + b"Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n"
_CHUNKED = b"POST /api/alice/tasks" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
ATTACKS: dict[str, Callable[[bytes], tuple[int, bytes]]] = {
    "answers that nobody reads": lambda large: (100, large),
    "pipelines of them": lambda large: (40, large * 3),
    "bodies without an end": lambda _: (200, _BODY + b" " * 1_000_000),
    "chunks without an end": lambda _: (200, _CHUNKED + b"3e8\r\n%b\r\n" % (b" " * 1000) * 1000),
    "heads of many fields": lambda _: (200, b"GET /" + HOST + b"A:\r\n" * 15_000),
    "heads without an end": lambda _: (1000, b"GET /" + HOST + b"A: " + b"a" * 65_000),
    "pipelines of heads": lambda large: (100, large + (b"GET /" + HOST + b"A:b\r\n" * 98 + b"\r\n") * 98),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_many_clients_together_cannot_fill_the_memory(service: server.Server, largest_list: bytes, attack: str) -> None:
    count, request = ATTACKS[attack](largest_list)
    with ExitStack() as stack:
        clients = [stack.enter_context(begin(service, request)) for _ in range(count)]
        requires_service(service)
        assert len(clients) == count
    assert memory_mb(service) < LIMIT_MB

    # All memory is given back, so the largest answer is served as at the beginning.
    target = largest_list.split()[1].decode()
    deadline = time.monotonic() + 60
    while (answer := httpx.get(f"{service.url}{target}", timeout=60)).status_code == 503:
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(json.loads(answer.content)) == 1000


def test_an_answer_beyond_the_budget_is_refused_and_a_write_is_not(service: server.Server, largest_list: bytes) -> None:
    target = largest_list.split()[1].decode()
    with ExitStack() as stack:
        for _ in range(DEFAULT_BYTES // 7_000_000 + 2):
            stack.enter_context(begin(service, largest_list))
        deadline = time.monotonic() + 60
        while (answer := httpx.get(f"{service.url}{target}", timeout=60)).status_code == 200:
            assert time.monotonic() < deadline
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-request-id"] in service.log()
        assert httpx.get(f"{service.url}{target}", params={"limit": 1}).status_code == 200
