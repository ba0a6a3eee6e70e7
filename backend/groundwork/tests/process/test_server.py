"""The real process over real sockets: restarts, stops, and what HTTP clients can do to it."""

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.locked import Locked

CREATE = {"title": "Buy milk"}


@pytest.fixture
def service(tmp_path: Path, service_url: str) -> Iterator[server.Server]:
    with server.running(tmp_path, DATABASE_URL=service_url, GRACEFUL_SHUTDOWN_SECONDS="3") as service:
        yield service


@pytest.fixture(scope="module")
def shared_service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """One service for the tests that leave it as it was, and need nothing of its database."""
    with server.running(tmp_path_factory.mktemp("shared"), DATABASE_URL=module_database) as service:
        yield service


def test_data_outlives_the_service(tmp_path: Path, service_url: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        created = httpx.post(f"{service.url}/api/alice/tasks", json=CREATE).json()
        assert service.stop() == 0
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        assert httpx.get(f"{service.url}/api/alice/tasks").json() == [created]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_an_idle_service_ends_at_once(tmp_path: Path, service_url: str, number: signal.Signals) -> None:
    variables = {"DATABASE_URL": service_url, "GRACEFUL_SHUTDOWN_SECONDS": "600"}
    with server.running(tmp_path, **variables) as service, httpx.Client() as client:
        assert client.get(f"{service.url}/health/ready").status_code == 200
        # The client's connection is still open, and idle.
        assert service.stop(number, timeout_seconds=30) == 0
    assert "SIGKILL" not in service.log()
    assert "Error" not in service.log()


def test_sigterm_lets_a_request_finish(service: server.Server, database_url: str) -> None:
    with ThreadPoolExecutor() as threads:
        with Locked(database_url) as lock:
            answer = threads.submit(httpx.post, f"{service.url}/api/alice/tasks", json=CREATE)
            lock.wait_for(1)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        assert answer.result().status_code == 201
    assert service.process.wait(20) == 0


@pytest.mark.fast
def test_a_request_that_meets_the_stop_on_an_idle_connection_is_answered(service: server.Server) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        time.sleep(0.2)  # accepted by now
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = _read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.lower().count(b"connection: close") == 1
    assert service.process.wait(20) == 0


def test_a_stuck_request_does_not_outlive_the_graceful_timeout(service: server.Server, database_url: str) -> None:
    with ThreadPoolExecutor() as threads, Locked(database_url) as lock:
        answer = threads.submit(httpx.post, f"{service.url}/api/alice/tasks", json=CREATE)
        lock.wait_for(1)
        # The statement timeout is ten seconds: only the graceful timeout can end the worker before.
        assert service.stop(timeout_seconds=8) == 0
        assert answer.result().status_code == 503
    assert "timeout graceful shutdown exceeded" in service.log()


def test_workers_end_when_gunicorn_was_killed(tmp_path: Path, service_url: str) -> None:
    variables = {"DATABASE_URL": service_url, "GUNICORN_CMD_ARGS": "--timeout 2"}
    with server.running(tmp_path, **variables) as service:
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", service.port)):
                    return
            time.sleep(0.1)
    pytest.fail("orphaned workers still serve")


def test_each_worker_has_one_pool_of_the_configured_size(tmp_path: Path, service_url: str, database_url: str) -> None:
    variables = {"DATABASE_URL": service_url, "WEB_CONCURRENCY": "2", "DATABASE_POOL_SIZE": "3"}
    with server.running(tmp_path, **variables) as service, ThreadPoolExecutor(200) as threads:
        with Locked(database_url) as lock:
            answers = []
            # One by one, because one worker takes them all until the other has started.
            while lock.waiting() < 6:
                answers.append(threads.submit(httpx.get, f"{service.url}/api/alice/tasks", timeout=30))
                assert len(answers) < 150
                time.sleep(0.1)
            answers += [threads.submit(httpx.get, f"{service.url}/api/alice/tasks", timeout=30) for _ in range(40)]
            time.sleep(1)
            assert lock.waiting() == 6
        assert all(answer.result().status_code == 200 for answer in answers)


def test_it_does_not_say_what_it_runs_on(shared_service: server.Server) -> None:
    assert "server" not in httpx.get(f"{shared_service.url}/health/live").headers


def test_a_body_that_is_announced_too_large_is_refused_unread(shared_service: server.Server) -> None:
    head = b"POST /api/alice/tasks HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=10) as client:
        client.sendall(head + b"Content-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n")
        answer = _read_to_end(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_a_body_in_chunks_is_refused_once_it_is_too_large(service: server.Server) -> None:
    head = b"POST /api/alice/tasks HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 1000:
                client.sendall(chunk)
                sent += 1
        except OSError:
            pass  # the service has closed the connection
    assert sent < 1000
    assert httpx.get(f"{service.url}/api/alice/tasks").json() == []
    assert 413 in [event.get("status") for event in service.events()]


@pytest.mark.parametrize("target", [b"/api/a%2Fb/tasks", b"/api/%E2%82%AC/tasks", b"/api//tasks", b"/api/%FF/tasks"])
def test_paths_arrive_as_they_were_sent(shared_service: server.Server, target: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=10) as client:
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = _read_to_end(client)
    expected = {b"/api//tasks": b"400", b"/api/%FF/tasks": b"400"}.get(target, b"200")
    assert answer.split(b" ")[1] == expected


@pytest.mark.fast
@pytest.mark.parametrize(
    "request_",
    [b"HELLO\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"],
)
def test_what_is_no_http_gets_a_problem_and_harms_nothing(shared_service: server.Server, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=10) as client:
        client.sendall(request_)
        head, _, body = _read_to_end(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400
    assert httpx.get(f"{shared_service.url}/health/ready").status_code == 200
    assert "Traceback" not in shared_service.log()


def test_pipelined_requests_are_answered_in_order(shared_service: server.Server) -> None:
    request = b"GET /api/u/tasks/7 HTTP/1.1\r\nHost: test\r\nX-Request-ID: n%d\r\n\r\n"
    requests = b"".join(request % number for number in range(20))
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=10) as client:
        client.sendall(requests + b"GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answers = _read_to_end(client)
    ids = re.findall(rb"x-request-id: (\S+)", answers)
    assert ids[:20] == [b"n%d" % n for n in range(20)]
    assert answers.endswith(b'{"status":"ok"}')


def _read_to_end(client: socket.socket) -> bytes:
    answer = b""
    while part := client.recv(65536):
        answer += part
    return answer
