"""Streams over real sockets, with the real worker, on both of its protocols."""

import asyncio
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.server import Server

APPLICATION = "groundwork.tests.process.streaming:app"


@pytest.fixture(params=["true", "false"], ids=["fast", "stock"])
def fast(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def service(fast: str, tmp_path: Path, service_url: str) -> Iterator[Server]:
    with server.running(
        tmp_path, application=APPLICATION, FAST=fast, DATABASE_URL=service_url, WEB_CONCURRENCY="1"
    ) as service:
        yield service


@contextmanager
def requested(service: Server, path: str, *, until: bytes = b"\r\n\r\n") -> Iterator[socket.socket]:
    """A connection that has sent a request, and has received its answer up to `until`."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        received = b""
        while until not in received:
            part = connection.recv(65536)
            assert part, received
            received += part
        yield connection


def access_line(service: Server) -> dict[str, Any]:
    """The access log's line of the only request with a stream."""
    service.wait_for_log('"stream": "')
    (line,) = [event for event in service.events() if "stream" in event]
    return line


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(("path", "until"), [("ticks", b"data: 0"), ("ticks/late", b"\r\n\r\n")])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_is_noticed(service: Server, path: str, until: bytes, how: str) -> None:
    """The client leaves in the middle or before the first event. The generator would wait for an hour."""
    with requested(service, f"/api/alice/{path}", until=until) as connection:
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.monotonic()
    service.wait_for_log("generator ended")
    line = access_line(service)
    assert time.monotonic() - left < 10  # FastAPI's ping would notice it after 15 s
    assert (line["stream"], line["status"], line["level"]) == ("broken off", 200, "info")
    assert "Traceback" not in service.log()


def test_a_client_that_only_sends_no_more_gets_its_stream(service: Server, fast: str) -> None:
    """A client that ends its sending side may still read. uvicorn's own protocol takes such a client for gone."""
    if fast == "false":
        pytest.skip("uvicorn's own protocol")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        head = b"GET /api/alice/ticks/parts?number=3&size=10&seconds=1 HTTP/1.1\r\nHost: test\r\n\r\n"
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = rest_of(connection)
    # The zero before a size, or before the end, asks the client whether it is there.
    _, _, body = answer.partition(b"\r\n\r\n")
    assert body.lstrip(b"0").count(b"x" * 10) == 3
    assert body.endswith(b"0\r\n\r\n")
    assert _chunks(body) == b"x" * 30
    assert access_line(service)["stream"] == "complete"


def _chunks(body: bytes) -> bytes:
    content = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            return content
        content, body = content + body[: int(size, 16)], body[int(size, 16) + 2 :]


def test_a_client_that_does_not_read_is_cut_off(fast: str, tmp_path: Path, service_url: str) -> None:
    if fast == "false":
        pytest.skip("uvicorn's own protocol has no such limit")
    variables = {"FAST": fast, "DATABASE_URL": service_url, "CLIENT_WAIT_SECONDS": "0.5"}
    with server.running(tmp_path, application=APPLICATION, **variables) as service:
        with requested(service, "/api/alice/ticks/parts?number=1000000&size=100000"):
            service.wait_for_log("the client does not read its answer")
            service.wait_for_log("generator ended")
        assert access_line(service)["stream"] == "broken off"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
def test_streams_end_when_the_worker_ends(service: Server, number: int) -> None:
    """Streams end as a complete answer, and requests in flight are answered."""
    before = service.workers()
    with (
        requested(service, "/api/alice/ticks", until=b"data: 0") as events,
        requested(service, "/api/alice/ticks/late") as late,
        requested(service, "/api/alice/ticks/parts?number=4&seconds=1", until=b"xxxxxxxxxx") as parts,
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as slow,
    ):
        slow.sendall(b"GET /api/alice/ticks/slow HTTP/1.1\r\nHost: test\r\n\r\n")
        time.sleep(0.3)
        service.process.send_signal(number)
        assert rest_of(events).endswith(b"0\r\n\r\n")
        assert rest_of(late) == b"0\r\n\r\n"
        # Other answers are not cut short, because a client would take them for complete.
        assert rest_of(parts).count(b"x") == 30
        assert rest_of(slow).endswith(b'{"done":true}')
        if number == signal.SIGTERM:
            assert service.process.wait(15) == 0
        else:
            service.wait_for_new_workers(before)
    lines = {event["stream"] for event in service.events() if "stream" in event}
    assert lines == {"worker stopped", "complete"}
    assert "Traceback" not in service.log()
    assert "timeout graceful" not in service.log()


def test_what_does_not_end_in_time_is_broken_off(fast: str, tmp_path: Path, service_url: str) -> None:
    variables = {"FAST": fast, "DATABASE_URL": service_url, "GRACEFUL_SHUTDOWN_SECONDS": "2"}
    with server.running(tmp_path, application=APPLICATION, **variables) as service:
        with requested(service, "/api/alice/ticks/parts?seconds=3600", until=b"xxxxxxxxxx") as parts:
            service.process.send_signal(signal.SIGTERM)
            assert rest_of(parts) in (b"", b"\r\n")
        assert service.process.wait(15) == 0
    assert access_line(service)["stream"] == "broken off"


def test_a_stream_has_the_headers_of_every_answer_and_one_line(service: Server) -> None:
    headers = {"X-Request-ID": "of-the-stream"}
    with httpx.stream("GET", f"{service.url}/api/alice/ticks", headers=headers) as answer:
        assert answer.headers["x-request-id"] == "of-the-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-accel-buffering"] == "no"
        parts = answer.iter_text()
        assert next(parts).startswith("data: 0\nid: 0\n")
        time.sleep(0.6)
    line = access_line(service)
    assert (line["request_id"], line["route"]) == ("of-the-stream", "/api/{user_id}/ticks")
    assert line["duration_ms"] >= 600
    assert line["stream_bytes"] == len("data: 0\nid: 0\n\n")


def test_head_of_a_stream_is_answered_at_once(service: Server) -> None:
    for path in ("ticks", "ticks/late", "ticks/parts?number=1000000&size=100000"):
        answer = httpx.head(f"{service.url}/api/alice/{path}")
        assert (answer.status_code, answer.content) == (200, b"")
    assert {event["stream"] for event in service.events() if "stream" in event} == {"head"}


def test_a_stream_that_fails_is_broken_off(service: Server) -> None:
    with httpx.Client(base_url=service.url) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get("/api/alice/ticks/broken")
    assert access_line(service)["stream"] == "broken off"
    assert "RuntimeError: broken" in service.log()


def test_a_stream_is_counted_and_is_not_slow(fast: str, tmp_path: Path, service_url: str) -> None:
    port = server.free_port()
    variables = {"FAST": fast, "DATABASE_URL": service_url, "METRICS_PORT": str(port), "SLOW_REQUEST_SECONDS": "0.5"}
    metrics = f"http://127.0.0.1:{port}/metrics"
    with server.running(tmp_path, application=APPLICATION, **variables) as service:
        with requested(service, "/api/alice/ticks", until=b"data: 0"):
            text = httpx.get(metrics).text
            assert "http_requests_in_flight 1.0\n" in text
            time.sleep(1)
        line = access_line(service)
        assert "slow" not in line
        text = httpx.get(metrics).text
        assert "http_requests_in_flight 0.0\n" in text
        seconds = (
            'http_request_duration_seconds_bucket{le="0.5",method="GET",route="/api/{user_id}/ticks",status="200"}'
        )
        assert f"{seconds} 1.0\n" in text


def test_a_hundred_streams_take_little_memory_and_no_connection(service: Server, database_url: str) -> None:
    (worker,) = service.workers()
    with httpx.Client(base_url=service.url) as client:
        client.get("/api/alice/ticks/slow?seconds=0")
        before = resident_kilobytes(worker)
        streams = [requested(service, "/api/alice/ticks?seconds=0.05", until=b"data: 3") for _ in range(100)]
        connections = [stream.__enter__() for stream in streams]
        assert client.get("/api/alice/ticks/slow?seconds=0").json() == {"done": True}
        taken = resident_kilobytes(worker) - before
        for connection in connections:
            connection.close()
    assert taken < 30_000, taken
    deadline = time.monotonic() + 20
    while service.log().count("broken off") < 100:
        assert time.monotonic() < deadline, service.log().count("broken off")
        time.sleep(0.1)
    while service.log().count("generator ended") < 100:
        assert time.monotonic() < deadline, service.log().count("generator ended")
        time.sleep(0.1)


MEGABYTE = 1024 * 1024


def test_an_upload_is_read_in_constant_memory(service: Server) -> None:
    """Uploads come with or without a length, and three at once, which together exceed the memory budget."""
    (worker,) = service.workers()
    part = bytes(range(256)) * 4096
    url = f"{service.url}/api/alice/ticks/upload"
    with httpx.Client(timeout=60) as client:
        client.post(url, content=part)
        before = resident_kilobytes(worker)
        content = part * 60

        def send(chunked: bool) -> dict[str, Any]:
            body = iter([part] * 60) if chunked else content
            answer: dict[str, Any] = client.post(url, content=body).raise_for_status().json()
            return answer

        with ThreadPoolExecutor() as pool:
            answers = [*pool.map(send, [True, False, False])]
    assert answers == [{"size": 60 * MEGABYTE, "sha256": sha256(content).hexdigest()}] * 3
    assert resident_kilobytes(worker) - before < 20_000


def test_a_route_has_a_limit_of_its_own(service: Server) -> None:
    with httpx.Client(base_url=f"{service.url}/api/al%2Fice/ticks", timeout=60) as client:
        assert client.post("/small", content=b"x" * 10).json() == 10
        assert client.post("/default", content=b"x" * MEGABYTE).json() == MEGABYTE
        for path, limit in (("/small", 10), ("/default", MEGABYTE), ("/upload", 64 * MEGABYTE)):
            too_large = b"x" * (limit + 1)
            for content in (too_large, iter([too_large])):
                answer = client.post(path, content=content)
                assert answer.status_code == 413, path
                assert f"{limit} bytes" in answer.json()["detail"]
        assert client.post("/nowhere", content=b"x" * (MEGABYTE + 1)).status_code == 413
        assert client.get("/small").status_code == 405


def test_a_declared_length_is_refused_before_the_body(service: Server) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        head = "POST /api/alice/ticks/upload HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_kept_still_counts(service: Server, fast: str) -> None:
    if fast == "false":
        pytest.skip("uvicorn's own protocol has no memory budget")
    with httpx.Client(base_url=f"{service.url}/api/alice/ticks", timeout=60) as client:
        assert client.post("/kept", json=["x" * MEGABYTE] * 5).json() == 5
        assert client.post("/kept", json=["x" * MEGABYTE] * 40).status_code == 503


@pytest.mark.parametrize(("size", "refused"), [(20_000, False), (10, True)], ids=["steady", "trickling"])
def test_an_upload_may_take_any_time_if_it_comes_steadily(
    fast: str, tmp_path: Path, service_url: str, size: int, *, refused: bool
) -> None:
    if fast == "false":
        pytest.skip("uvicorn's own protocol has no such limit")
    variables = {"FAST": fast, "DATABASE_URL": service_url, "CLIENT_WAIT_SECONDS": "2"}
    with (
        server.running(tmp_path, application=APPLICATION, **variables) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection,
    ):
        head = "POST /api/alice/ticks/upload HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\n\r\n"
        connection.sendall(head.encode())
        sent = 0
        with suppress(OSError):
            for _ in range(20):
                connection.sendall(b"x" * size)
                sent += size
                time.sleep(0.25)
            if not refused:
                connection.sendall(b"x" * (2_000_000 - sent))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 " if refused else b"HTTP/1.1 200 ")


def test_a_client_that_leaves_in_the_middle_of_an_upload(service: Server) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        head = "POST /api/alice/ticks/upload HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 3_000_000)
    service.wait_for_log('"status": 499')
    assert "Traceback" not in service.log()


def test_a_download_is_sent_in_constant_memory(service: Server) -> None:
    (worker,) = service.workers()
    url = f"{service.url}/api/alice/ticks/csv"
    small = httpx.get(url)
    assert small.headers["content-disposition"] == "attachment; filename*=UTF-8''nu%22m%E2%82%ACbers.csv"
    assert small.headers["content-type"] == "text/csv; charset=utf-8"
    assert small.text.splitlines()[:2] == ["number,text", f"1,{'x' * 1000}"]
    before = resident_kilobytes(worker)
    size = 0
    with httpx.stream("GET", f"{url}?number=100000", timeout=60) as answer:
        for part in answer.iter_bytes():
            size += len(part)
    assert size > 100_000_000
    assert resident_kilobytes(worker) - before < 20_000
    head = httpx.head(f"{url}?number=100000")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-disposition"].startswith("attachment")


async def test_a_client_that_leaves_a_download_leaves_no_connection(
    service: Server, connection: asyncpg.Connection
) -> None:
    """There are more clients than connections in the pool. It would be empty if each had kept its connection."""
    path = "/api/alice/ticks/csv?number=1000000"
    for _ in range(12):
        with requested(service, path, until=b"xxxxxxxxxx"):
            pass
    deadline = time.monotonic() + 20
    busy = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    while await connection.fetchval(f"{busy} AND datname = current_database()"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    for _ in range(12):
        with requested(service, path, until=b"xxxxxxxxxx"):
            pass
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{service.url}/api/alice/ticks/csv")).is_success
    assert "Traceback" not in service.log()


async def test_a_download_is_broken_off_when_the_database_is_gone(
    service: Server, connection: asyncpg.Connection
) -> None:
    with requested(service, "/api/alice/ticks/csv?number=1000000", until=b"xxxxxxxxxx") as client:
        await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE xact_start IS NOT NULL"
            " AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        assert not rest_of(client).endswith(b"0\r\n\r\n")
    assert access_line(service)["stream"] == "broken off"


async def test_every_worker_tells_its_streams_of_changes(
    fast: str, tmp_path: Path, service_url: str, database_url: str, connection: asyncpg.Connection
) -> None:
    """Twenty streams on two workers take two connections at most, and none when nobody listens any more."""
    variables = {"FAST": fast, "WEB_CONCURRENCY": "2", "DATABASE_OPEN_AT_START": "0"}
    variables |= {"DATABASE_URL": service_url, "DATABASE_DIRECT_URL": database_url}
    listening = "FROM pg_stat_activity WHERE query ILIKE 'LISTEN %' AND datname = current_database()"
    with server.running(tmp_path, application=APPLICATION, **variables) as service, ExitStack() as stack:
        path = "/api/alice/ticks/changes"
        streams = [stack.enter_context(requested(service, path, until=b": open")) for _ in range(20)]
        other = stack.enter_context(requested(service, path.replace("alice", "bob"), until=b": open"))
        assert await connection.fetchval(f"SELECT count(*) {listening}") <= 2
        async with httpx.AsyncClient() as client:
            assert (await client.post(f"{service.url}{path}/1")).is_success
        for stream in streams:
            assert b'{"id": "1"}' in received(stream, until=b"data: ")
        # The database ends the connections, as at a restart.
        await connection.fetch(f"SELECT pg_terminate_backend(pid) {listening}")
        for stream in [*streams, other]:
            assert b'{"id": null}' in received(stream, until=b"data: ")
        stack.close()
        deadline = time.monotonic() + 20
        while await connection.fetchval(f"SELECT count(*) {listening}"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert "unhandled" not in service.log()


def received(connection: socket.socket, *, until: bytes) -> bytes:
    """What the connection receives up to `until` and the end of its line."""
    content = b""
    while until not in content or not content.endswith(b"\r\n"):
        part = connection.recv(65536)
        assert part, content
        content += part
    return content


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
