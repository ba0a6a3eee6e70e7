"""The service under another server than gunicorn with its worker: `uvicorn app.main:app`, and `fastapi run`."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app import main
from groundwork.tests.process import server
from groundwork.tests.process.locked import Locked
from groundwork.tests.process.server import BACKEND, START_SECONDS, Server, environment, free_port

UVICORN = ["-m", "uvicorn", "app.main:app"]
# The call that `fastapi run` makes. That command is in a package of its own.
FASTAPI_RUN = ["-c", "import sys, uvicorn; uvicorn.run('app.main:app', port=int(sys.argv[2]), proxy_headers=True)"]


@contextmanager
def running(directory: Path, command: list[str], **variables: str) -> Iterator[Server]:
    port = free_port()
    log = directory / f"uvicorn-{port}.log"
    with log.open("wb") as output:
        arguments = [sys.executable, *command, "--port", str(port)]
        process = subprocess.Popen(
            arguments, cwd=BACKEND, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT
        )
    service = Server(process, port, log)
    try:
        service.wait_until_live()
        yield service
    finally:
        if process.poll() is None:
            service.stop()


@pytest.fixture(params=["httptools", "h11", "fastapi run"])
def service(request: pytest.FixtureRequest, tmp_path: Path, service_url: str) -> Iterator[Server]:
    command = FASTAPI_RUN if request.param == "fastapi run" else [*UVICORN, "--http", request.param]
    with running(tmp_path, command, DATABASE_URL=service_url) as service:
        yield service


def test_every_operation_is_answered(service: Server) -> None:
    for user in ("alice", "a%2Fb", "%E2%82%AC", "a%20b", "a%2fb%25", "%F0%9F%91%8B"):
        _do_everything(service.url, f"/api/{user}/tasks")
    assert "Error" not in service.log()


def _do_everything(url: str, path: str) -> None:
    with httpx.Client(base_url=url) as client:
        answer = client.post(path, json={"title": "x"})
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{path}/{answer.json()['id']}"
        task = answer.headers["location"]
        assert client.get(path).json() == [answer.json()]
        assert client.get(task).json() == answer.json()
        assert client.put(task, json={"title": "y"}).json()["title"] == "y"
        assert client.patch(f"{task}/complete").json()["completed"]
        assert client.delete(task).status_code == 200
        assert client.get(task).status_code == 404


def test_errors_are_answered(service: Server) -> None:
    with httpx.Client(base_url=service.url) as client:
        for method, path, body, status in (
            ("POST", "/api/alice/tasks", b"[", 400),
            ("POST", "/api/a%2Fb/tasks", b"{}", 400),
            ("POST", "/api/alice/tasks", b" " * 2_000_000, 413),
            ("GET", "/api/%FF/tasks", b"", 400),
            ("GET", "/nothing%2Fhere", b"", 404),
            ("DELETE", "/api/a%2Fb/tasks", b"", 405),
        ):
            answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
            assert answer.headers["x-request-id"]
        chunks = client.post("/api/alice/tasks", content=iter([b" " * 600_000] * 4))
        assert chunks.status_code == 413
        assert client.head("/health/nothing").content == b""
        assert client.get("/docs").status_code == 200
        title = "x" * 200
        for _ in range(300):
            client.post("/api/alice/tasks", json={"title": title, "description": "y" * 1000})
        assert len(client.get("/api/alice/tasks").json()) == 300
    assert "Traceback" not in service.log()


def test_pipelined_requests_are_answered_in_order(service: Server) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
        one = b"GET /api/a%2Fb/tasks HTTP/1.1\r\nHost: x\r\n"
        client.sendall((one + b"\r\n") * 4 + one + b"Connection: close\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 5


def test_it_says_what_is_missing_and_stops_at_a_signal(service: Server) -> None:
    assert service.log().count("not started by gunicorn with gunicorn.conf.py") == 1
    service.process.send_signal(signal.SIGTERM)
    # uvicorn ends with the signal that it was sent.
    assert service.process.wait(START_SECONDS) in (0, -signal.SIGTERM)
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_at_the_stop_a_request_in_flight_is_answered(
    tmp_path: Path, service_url: str, database_url: str, protocol: str
) -> None:
    command = [*UVICORN, "--http", protocol, "--timeout-graceful-shutdown", "1"]
    with running(tmp_path, command, DATABASE_URL=service_url) as service, ThreadPoolExecutor() as threads:
        with Locked(database_url) as lock:
            answer = threads.submit(httpx.post, f"{service.url}/api/alice/tasks", json={"title": "x"}, timeout=20)
            lock.wait_for(1)
            service.process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 503
        service.process.wait(START_SECONDS)


def test_its_own_worker_has_nothing_to_say(tmp_path: Path, service_url: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        assert "not started by gunicorn" not in service.log()


def test_fastapi_run_finds_the_application() -> None:
    """`fastapi run` looks for the application in `dir()` of the module."""
    assert "app" in dir(main)
    assert "create_app" in dir(main)
