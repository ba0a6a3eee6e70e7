"""The service with `fast=False` as a real process: on uvicorn's own protocol, and without `groundwork.fast`."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.locked import Locked

IMPORTED = """
import sys
from app.core.config import Settings
from groundwork.tests.stock import create_stock_app
import groundwork.serve.worker
app = create_stock_app(Settings(database_url="postgresql://localhost/none"))
app.build_middleware_stack()
print([name for name in sys.modules if name.startswith("groundwork.fast")])
"""


def test_nothing_of_the_fast_part_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=server.BACKEND, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("reload", ["false", "true"])
def test_it_serves_and_its_metrics_have_their_port(tmp_path: Path, service_url: str, reload: str) -> None:
    """With RELOAD, each worker loads the application itself."""
    port = server.free_port()
    with server.running(
        tmp_path, application=server.STOCK, DATABASE_URL=service_url, METRICS_PORT=str(port), RELOAD=reload
    ) as service:
        with httpx.Client(base_url=service.url) as client:
            created = client.post("/api/alice/tasks", json={"title": "x"})
            assert created.status_code == 201
            assert client.get(created.headers["location"]).json() == created.json()
            head = client.head(created.headers["location"])
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(created.content))
            assert client.get("/metrics").status_code == 404
            assert client.post("/api/alice/tasks", content=b" " * 2_000_000).status_code == 413
            chunks = client.post("/api/alice/tasks", content=iter([b" " * 600_000] * 4))
            assert chunks.status_code == 413
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics")
        counted = 'http_request_duration_seconds_count{method="POST",route="/api/{user_id}/tasks",status="201"} 1.0'
        assert counted in metrics.text
        assert httpx.get(f"http://127.0.0.1:{port}/api/alice/tasks").status_code == 404
        assert service.stop() == 0
    assert "Traceback" not in service.log()


def test_a_request_in_flight_is_answered_at_the_stop(tmp_path: Path, service_url: str, database_url: str) -> None:
    with server.running(
        tmp_path, application=server.STOCK, DATABASE_URL=service_url, GRACEFUL_SHUTDOWN_SECONDS="2"
    ) as service:
        with Locked(database_url) as lock, socket.create_connection(("127.0.0.1", service.port), timeout=20) as client:
            client.sendall(b"GET /api/alice/tasks HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            lock.wait_for(1)
            service.process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"application/problem+json" in answer
        assert service.process.wait(20) == 0
