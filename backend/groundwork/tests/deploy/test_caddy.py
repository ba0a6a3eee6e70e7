"""deploy/vm/Caddyfile: what reaches the service, and what a client gets while it does not."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from groundwork.tests.caddy import Caddy, running_caddy
from groundwork.tests.process.server import free_port


class _Echo(BaseHTTPRequestHandler):
    """Answers with the head of the request, and the name of the server in a header."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Server", str(self.connection.getsockname()[1]))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def echo(port: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), _Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def caddy(tmp_path: Path, ports: tuple[int, int]) -> Iterator[Caddy]:
    with running_caddy(tmp_path, backend=ports[0], next_=ports[1]) as caddy:
        yield caddy


@contextmanager
def client_of(caddy: Caddy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=caddy.url, verify=caddy.tls, timeout=30) as client:
        yield client


def test_a_client_cannot_say_who_it_is(caddy: Caddy, ports: tuple[int, int]) -> None:
    forged = {
        "Forwarded": "for=192.0.2.1",
        "X-Forwarded-For": "192.0.2.1",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "192.0.2.1",
    }
    with echo(ports[0]), client_of(caddy) as client:
        seen = dict(line.split(": ", 1) for line in client.get("/", headers=forged).text.strip().splitlines())
    assert "192.0.2.1" not in seen.values()
    assert "Forwarded" not in seen
    assert seen["X-Forwarded-For"] == seen["X-Real-Ip"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "https"
    assert seen["X-Forwarded-Host"] == f"localhost:{caddy.port}"


def test_a_file_says_who_gets_the_requests(caddy: Caddy, ports: tuple[int, int]) -> None:
    backend, next_ = ports
    with echo(backend), echo(next_), client_of(caddy) as client:
        assert client.get("/").headers["X-Server"] == str(backend)
        caddy.send_requests_to("next")
        assert client.get("/").headers["X-Server"] == str(next_)
        caddy.send_requests_to("backend")
        # The path `/next` has nothing to do with the file of this name.
        assert client.get("/next").headers["X-Server"] == str(backend)


@pytest.mark.parametrize("preferred", ["backend", "next"])
def test_one_of_the_two_is_enough(caddy: Caddy, ports: tuple[int, int], preferred: str) -> None:
    """After an interrupted roll-out, the file may name a container that is gone, or Caddy may have lost the file."""
    if preferred == "next":
        caddy.send_requests_to("next")
    other = ports[preferred == "backend"]
    with echo(other), client_of(caddy) as client:
        # The request has not been sent to the one that is gone. The echo server answers a POST with 501.
        assert client.post("/", json={"title": "Once"}).status_code == 501
        answers = [client.get("/") for _ in range(20)] + [client.request("GET", "/", content=b"x" * 100_000)]
    assert {answer.headers["X-Server"] for answer in answers} == {str(other)}


def test_a_request_waits_for_a_service_that_restarts(caddy: Caddy, ports: tuple[int, int]) -> None:
    answers = []
    with client_of(caddy) as client:
        waiting = threading.Thread(target=lambda: answers.append(client.post("/api/alice/things", json={})))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        with echo(ports[0]):
            waiting.join()
    # The echo server answers a POST with 501.
    assert answers[0].status_code == 501


def test_a_service_that_is_away_is_said_in_its_own_form(tmp_path: Path, ports: tuple[int, int]) -> None:
    with (
        running_caddy(tmp_path, backend=ports[0], next_=ports[1], give_up="200ms") as caddy,
        client_of(caddy) as client,
    ):
        answer = client.post("/api/alice/things", json={})
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json().keys() == {"type", "title", "status", "detail"}
    assert answer.json()["status"] == 503


def test_a_service_that_breaks_off_is_answered_for(caddy: Caddy, ports: tuple[int, int]) -> None:
    """A write whose connection is lost is not sent again, because it may have taken effect."""
    taken = []

    def take_and_close(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            taken.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", ports[0])) as server, client_of(caddy) as client:
        thread = threading.Thread(target=take_and_close, args=[server])
        thread.start()
        answer = client.post("/api/alice/things", json={"title": "Once"})
        thread.join()
    assert answer.status_code == 503
    assert len(taken) == 1


@pytest.mark.parametrize(("https_port", "suffix"), [("443", ""), ("8443", ":8443")])
def test_the_redirect_keeps_the_published_port(
    tmp_path: Path, ports: tuple[int, int], https_port: str, suffix: str
) -> None:
    with running_caddy(tmp_path, backend=ports[0], next_=ports[1], https_port=https_port) as caddy:
        answer = httpx.get(f"http://localhost:{caddy.http_port}/api/alice/things?limit=1")
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://localhost{suffix}/api/alice/things?limit=1"
    # The header counts for HTTPS only.
    assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize(
    ("domain", "https_port", "hsts"),
    [
        ("api.example.com", "443", "max-age=600"),
        # A browser would use port 443, where nothing listens for this name.
        ("api.example.com", "8443", None),
        ("localhost", "443", None),
        ("api.localhost", "443", None),
    ],
)
def test_browsers_are_told_to_keep_to_https_where_the_name_is_a_real_one(
    tmp_path: Path, ports: tuple[int, int], domain: str, https_port: str, hsts: str | None
) -> None:
    with running_caddy(
        tmp_path, backend=ports[0], next_=ports[1], give_up="1s", domain=domain, https_port=https_port
    ) as caddy:
        refused = caddy.get()
        with echo(ports[0]):
            answered = caddy.get()
    assert (refused.status_code, answered.status_code) == (503, 200)
    assert refused.headers.get("Strict-Transport-Security") == hsts
    assert answered.headers.get("Strict-Transport-Security") == hsts
