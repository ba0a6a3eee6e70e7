"""WebSockets over real sockets, with the real worker, on both of its protocols."""

import json
import signal
import socket
import struct
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from groundwork.auth.tokens import CLOCK_SKEW_SECONDS
from groundwork.tests import nginx
from groundwork.tests.process import server
from groundwork.tests.process.server import Server
from groundwork.tests.sign_in.issuer import AUDIENCE, Issuer, running_issuer

pytest.importorskip("websockets", reason="the package websockets is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

NONCE = b64encode(bytes(16))
APPLICATION = "groundwork.tests.process.sockets:app"
ECHO = "/api/alice/socket"


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast", "stock"])
def fast(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@contextmanager
def serving(directory: Path, fast: str, database_url: str, **variables: str) -> Iterator[Server]:
    given = {"FAST": fast, "DATABASE_URL": database_url, "WEB_CONCURRENCY": "1", "WEBSOCKETS": "true", **variables}
    with server.running(directory, application=APPLICATION, **given) as service:
        yield service


@pytest.fixture
def service(fast: str, tmp_path: Path, service_url: str, database_url: str) -> Iterator[Server]:
    # Notifications do not pass through a pooler.
    with serving(tmp_path, fast, service_url, DATABASE_DIRECT_URL=database_url) as service:
        yield service


@pytest.fixture(scope="module")
def shared_service(fast: str, module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for the tests of the handshake. They leave it as it was, and look for their own lines in its log."""
    with serving(tmp_path_factory.mktemp("shared"), fast, module_database) as service:
        yield service


def opened(service: Server, path: str = ECHO, **options: Any) -> ClientConnection:
    connection: ClientConnection = connect(f"ws://127.0.0.1:{service.port}{path}", compression=None, **options)
    return connection


def refusal(service: Server, path: str = ECHO, **options: Any) -> Any:
    """The answer to a refused handshake. It is a problem with a request id, which is also in the log."""
    with pytest.raises(InvalidStatus) as raised, opened(service, path, **options):
        pass
    answer = raised.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == answer.status_code
    service.wait_for_log(f'"request_id": "{answer.headers["x-request-id"]}", "method": "GET"')
    (line,) = [each for each in lines(service) if each["request_id"] == answer.headers["x-request-id"]]
    assert line["status"] == answer.status_code
    return answer


def lines(service: Server, number: int = 1) -> list[dict[str, Any]]:
    """Wait for the access log's lines of WebSockets, and return them."""
    deadline = time.monotonic() + 20
    while True:
        found = [
            event for event in service.events() if event["logger"] == "app.access" and "/health/" not in event["route"]
        ]
        if len(found) >= number:
            return found
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.05)


def closed_with(connection: ClientConnection) -> int:
    """The code with which the service closes the connection."""
    try:
        while True:
            connection.recv(timeout=20)
    except ConnectionClosed as error:
        return error.rcvd.code if error.rcvd else 1006


def frame(opcode: Opcode, content: bytes, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, content, fin).serialize(mask=True))


def test_a_socket_has_an_id_one_line_and_metrics(fast: str, tmp_path: Path, service_url: str) -> None:
    port = server.free_port()
    with serving(tmp_path, fast, service_url, METRICS_PORT=str(port), LOG_LEVEL="debug") as service:
        headers = {"X-Request-ID": "of-the-client"}
        with opened(service, f"{ECHO}?number=7", additional_headers=headers) as connection:
            assert connection.response is not None
            assert connection.response.headers["x-request-id"] == "of-the-client"
            connection.send("hello")
            assert connection.recv(timeout=20) == "alice: hello"
            assert "http_requests_in_flight 1.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        (line,) = lines(service)
        assert (line["request_id"], line["status"], line["method"]) == ("of-the-client", 101, "GET")
        assert (line["stream"], line["stream_bytes"], line["route"]) == ("closed 1000", 12, "/api/{user_id}/socket")
        assert len(line["user"]) == 12
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'route="/api/{user_id}/socket",status="101"} 1.0' in metrics
        assert "http_requests_in_flight 0.0" in metrics
        for path in (ECHO, "/metrics"):
            with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}{path}"):
                pass
        assert "/api/alice" not in service.log()  # a user's id
        assert "Traceback" not in service.log()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/alice/nothing", 404),
        (f"{ECHO}/refused", 409),
        (f"{ECHO}/closed", 403),
        (f"{ECHO}?number=x", 400),
        ("/api/%zz/socket", 400),
        (f"/api/{'a' * 300}/socket", 400),
    ],
)
def test_a_refusal_is_an_ordinary_answer(shared_service: Server, path: str, status: int) -> None:
    assert refusal(shared_service, path).status_code == status
    assert "Traceback" not in shared_service.log()
    with opened(shared_service) as connection:
        connection.ping().wait(20)


def test_pages_of_other_origins_are_refused(fast: str, tmp_path: Path, service_url: str) -> None:
    with serving(tmp_path, fast, service_url, CORS_ORIGINS="https://app.example.com") as service:
        for origin in ("https://evil.example.com", "null", f"http://127.0.0.1:{service.port + 1}"):
            assert refusal(service, origin=origin).status_code == 403
        for allowed in ("https://app.example.com", service.url, None):
            with opened(service, origin=allowed) as connection:
                connection.ping().wait(20)


def test_errors_after_the_handshake_close_the_socket(service: Server) -> None:
    for text, code in (("close", 4000), ("conflict", 1008), ("fail", 1011)):
        with opened(service) as connection:
            connection.send(text)
            assert closed_with(connection) == code
    assert [line["stream"] for line in lines(service, 3)] == ["closed 4000", "closed 1008", "closed 1011"]
    assert service.log().count("unhandled error") == 1


def test_a_handler_that_answers_nothing_is_a_defect(service: Server) -> None:
    assert refusal(service, f"{ECHO}/forgotten").status_code == 500
    assert "returned without an answer: call `accept` or `close`" in service.log()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@contextmanager
def signed_in(directory: Path, fast: str, database_url: str, issuer: Issuer, **more: str) -> Iterator[Server]:
    variables = {"AUTH_ISSUER": issuer.url, "AUTH_AUDIENCE": AUDIENCE, "LOG_LEVEL": "debug", **more}
    with serving(directory, fast, database_url, **variables) as service:
        yield service


def test_sign_in_comes_before_the_handshake(fast: str, tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    with signed_in(tmp_path, fast, service_url, issuer, RATE_LIMIT_PER_MINUTE="2") as service:
        assert refusal(service).headers["www-authenticate"] == "Bearer"
        assert refusal(service, additional_headers=issuer.bearer("bob")).status_code == 404
        assert refusal(service, subprotocols=["bearer", issuer.token("bob")]).status_code == 404
        both = refusal(service, additional_headers=issuer.bearer(), subprotocols=["bearer", issuer.token()])
        assert both.status_code == 401
        with opened(service, additional_headers=issuer.bearer()) as connection:
            assert connection.subprotocol is None
        token = issuer.token()
        with opened(service, subprotocols=["bearer", token]) as connection:
            assert connection.subprotocol == "bearer"
            connection.send("hello")
            assert connection.recv(timeout=20) == "alice: hello"
        assert refusal(service, additional_headers=issuer.bearer()).status_code == 429
        assert token.split(".")[2] not in service.log()
        assert "Traceback" not in service.log()


def test_only_staff_reach_everybodys_rows(fast: str, tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    with signed_in(tmp_path, fast, service_url, issuer) as service:
        assert refusal(service, "/staff/socket", additional_headers=issuer.bearer()).status_code == 403
        staff = issuer.bearer(roles=["support"])
        with opened(service, "/staff/socket", additional_headers=staff) as connection:
            assert connection.recv(timeout=20) == "staff"
        with opened(service, f"{ECHO}/everybody", additional_headers=staff) as connection:
            assert closed_with(connection) == 1011
        assert "this statement reaches everybody's rows" in service.log()


@pytest.mark.parametrize("path", [ECHO, f"{ECHO}/deaf"])
def test_a_socket_ends_with_its_token(fast: str, path: str, tmp_path: Path, service_url: str, issuer: Issuer) -> None:
    with signed_in(tmp_path, fast, service_url, issuer) as service:
        headers = issuer.bearer(exp=int(time.time()) - CLOCK_SKEW_SECONDS + 3)
        with opened(service, path, additional_headers=headers) as connection:
            assert closed_with(connection) == 3000
        assert lines(service)[0]["stream"] == "token expired"


@pytest.mark.parametrize("path", [ECHO, f"{ECHO}/deaf", f"{ECHO}/flood"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
def test_sockets_end_with_their_worker(service: Server, path: str, number: int) -> None:
    before = service.workers()
    with opened(service, path) as connection:
        service.process.send_signal(number)
        assert closed_with(connection) == 1012
    (line,) = lines(service)
    assert line["stream"] == "closed 1012"
    if number == signal.SIGTERM:
        assert service.process.wait(15) == 0
    else:
        service.wait_for_new_workers(before)
    assert "Traceback" not in service.log()
    assert "timeout graceful" not in service.log()


@pytest.mark.parametrize("path", [ECHO, f"{ECHO}/deaf", f"{ECHO}/flood", f"{ECHO}/changes"])
def test_a_handler_ends_when_its_client_leaves(service: Server, path: str) -> None:
    with handshaken(service, path) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert lines(service)[0]["status"] == 101
    assert "Traceback" not in service.log()


def test_a_client_that_reads_nothing_is_cut_off(fast: str, tmp_path: Path, service_url: str) -> None:
    with serving(tmp_path, fast, service_url, CLIENT_WAIT_SECONDS="0.5") as service:
        for path in (f"{ECHO}/flood", ECHO):
            with handshaken(service, path) as raw:
                if path == ECHO:
                    raw.sendall(frame(Opcode.TEXT, b"close"))  # the client does not answer the close frame
                lines(service, 1 if path != ECHO else 2)
                time.sleep(3)
                with pytest.raises(OSError):
                    send_slowly(raw, frame(Opcode.PING, b"x"), 100)
        assert "Traceback" not in service.log()


def send_slowly(raw: socket.socket, content: bytes, times: int) -> None:
    for _ in range(times):
        raw.sendall(content)
        time.sleep(0.02)


@contextmanager
def handshaken(service: Server, path: str, port: int | None = None) -> Iterator[socket.socket]:
    """A connection after the handshake, to the service or to a proxy's port. The test itself reads from it."""
    with socket.create_connection(("127.0.0.1", port or service.port), timeout=20) as raw:
        raw.sendall(handshake(path))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += raw.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield raw


def handshake(path: str, *fields: bytes) -> bytes:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    chosen = b"Sec-WebSocket-Key: " + NONCE
    return b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: test", *upgrade, chosen, *fields, b"", b""])


def test_messages_are_limited(fast: str, tmp_path: Path, service_url: str) -> None:
    with serving(tmp_path, fast, service_url, REQUEST_BODY_LIMIT_BYTES="1000") as service:
        with opened(service) as connection:
            connection.send("x" * 1000)
            assert len(connection.recv(timeout=20)) == 1007
            connection.send("x" * 1001)
            assert closed_with(connection) == 1009
        with opened(service) as connection:
            connection.send(["x" * 600, "y" * 600])  # fragments of one message
            assert closed_with(connection) == 1009
        assert [line["stream"] for line in lines(service, 2)] == ["closed 1009"] * 2


def test_what_waits_for_a_handler_is_limited(fast: str, tmp_path: Path, service_url: str) -> None:
    """A client that keeps sending is slowed down. One with large messages is closed when the memory is used up."""
    variables = {"REQUEST_BODY_LIMIT_BYTES": str(8 << 20), "MEMORY_BUDGET_BYTES": str(1 << 20)}
    with serving(tmp_path, fast, service_url, **variables) as service:
        with handshaken(service, f"{ECHO}/deaf") as raw:
            raw.settimeout(1)
            with pytest.raises(TimeoutError):
                raw.sendall(frame(Opcode.TEXT, b"x" * 1000) * 10_000)
        with opened(service) as connection:
            connection.send("x" * (4 << 20))
            assert closed_with(connection) == 1013
        with opened(service) as connection:
            for number in range(2000):
                connection.send(str(number))
            for number in range(2000):
                assert connection.recv(timeout=20) == f"alice: {number}"
        assert httpx.get(f"{service.url}/health/live").status_code == 200


ENDS = {
    "breaks the protocol": (1002, b"\xf0\x80" + bytes(4)),
    "no text": (1007, frame(Opcode.TEXT, b"\xff")),
    "too large": (1009, frame(Opcode.BINARY, bytes(9 << 20))),
    "too much memory": (1013, frame(Opcode.BINARY, bytes(4 << 20))),
    "the handler closes": (4000, frame(Opcode.TEXT, b"close")),
    "the handler refuses": (1008, frame(Opcode.TEXT, b"conflict")),
    "the handler fails": (1011, frame(Opcode.TEXT, b"fail")),
    "the handler returns": (1000, frame(Opcode.TEXT, b"return")),
}


@pytest.mark.parametrize(("code", "sent"), ENDS.values(), ids=ENDS)
def test_a_client_that_is_still_sending_learns_why_it_was_closed(
    fast: str, tmp_path: Path, service_url: str, code: int, sent: bytes
) -> None:
    """Closing with unread data would reset the connection, and the client would lose the close frame."""
    variables = {"REQUEST_BODY_LIMIT_BYTES": str(8 << 20), "MEMORY_BUDGET_BYTES": str(1 << 20)}
    with serving(tmp_path, fast, service_url, **variables) as service:
        with handshaken(service, ECHO) as raw:
            raw.sendall(sent)
            raw.sendall(frame(Opcode.BINARY, bytes(1000)) * 10_000)
            answer = raw.recv(4)
            assert int.from_bytes(answer[2:4], "big") == code
            raw.sendall(frame(Opcode.CLOSE, code.to_bytes(2, "big")))
            while raw.recv(65536):
                pass
        (line,) = lines(service)
        assert line["stream"] == f"closed {code}"
        assert "Traceback" not in service.log() or code == 1011


def test_a_proxy_passes_the_close_frame_on_before_it_ends_its_connection(service: Server, tmp_path: Path) -> None:
    if not nginx.is_installed():
        pytest.skip(nginx.MISSING)
    upgrade = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
    location = f"location / {{ proxy_pass http://127.0.0.1:{service.port}; {upgrade} }}"
    with nginx.running_nginx(tmp_path / "nginx", location) as url:
        port = httpx.URL(url).port
        code, sent = ENDS["no text"]
        with handshaken(service, ECHO, port) as raw:
            began = time.monotonic()
            raw.sendall(sent)
            time.sleep(0.2)
            try:
                send_slowly(raw, frame(Opcode.BINARY, bytes(1000)), 10)
            except OSError:  # on a busy machine, the client's second may be over
                assert time.monotonic() - began > 0.8
            assert int.from_bytes(raw.recv(4)[2:4], "big") == code


@pytest.mark.parametrize("sent", [ENDS["no text"][1], ENDS["the handler closes"][1]], ids=["failed", "closed"])
def test_a_client_that_stays_after_its_end_does_not_hold_up_the_worker(service: Server, sent: bytes) -> None:
    with handshaken(service, ECHO) as raw:
        raw.sendall(sent)
        assert raw.recv(4)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(8) == 0  # without a limit of its own, websockets would wait for 10 s
    assert "timeout graceful" not in service.log()


def test_what_is_no_handshake_is_an_ordinary_request(shared_service: Server, fast: str) -> None:
    """If the request has a body, or another request follows, these bytes are never taken for frames."""
    live = b"GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    whole = handshake(ECHO)
    for sent in (
        handshake(ECHO, b"Content-Length: %d" % len(live)) + live,
        whole.replace(b"Version: 13", b"Version: 8") + live,
        whole.replace(NONCE, b"short") + live,
        handshake(ECHO, b"X: " + b"x" * 9000) + live,
        *([whole + live, whole.replace(b"Host: test", b"Host: a b")] if fast == "true" else []),
    ):
        with socket.create_connection(("127.0.0.1", shared_service.port), timeout=20) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 4")
        assert b" 101 " not in answer
    assert "Traceback" not in shared_service.log()


def test_what_comes_before_the_handshakes_answer_is_no_defect(shared_service: Server) -> None:
    for early in (b"\xff" * 1000, frame(Opcode.TEXT, b"\xff"), frame(Opcode.CONT, b"x")):
        with socket.create_connection(("127.0.0.1", shared_service.port), timeout=20) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.sendall(handshake(ECHO))
            raw.sendall(early)
            answer = raw.recv(65536)
        assert answer.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 4"))
    with opened(shared_service) as connection:
        connection.socket.sendall(frame(Opcode.TEXT, b"\xff"))
        assert closed_with(connection) == 1007
    assert "Traceback" not in shared_service.log()


def test_no_connection_of_the_pool_is_held(fast: str, tmp_path: Path, service_url: str) -> None:
    with serving(tmp_path, fast, service_url, DATABASE_POOL_SIZE="1") as service, ExitStack() as stack:
        connections = [stack.enter_context(opened(service, f"{ECHO}/database")) for _ in range(5)]
        assert [connection.recv(timeout=20) for connection in connections] == ["1"] * 5


def test_changes_arrive(service: Server) -> None:
    with opened(service, f"{ECHO}/changes") as connection:
        assert httpx.post(f"{service.url}{ECHO}/changes/7").status_code == 200
        assert connection.recv(timeout=20) == "7"


def test_without_the_setting_an_upgrade_is_an_ordinary_request(fast: str, tmp_path: Path, service_url: str) -> None:
    with serving(tmp_path, fast, service_url, WEBSOCKETS="false") as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as raw:
            raw.sendall(handshake(ECHO))
            if fast == "true":
                assert raw.recv(65536).startswith(b"HTTP/1.1 404 ")
        assert httpx.get(f"{service.url}/health/live").status_code == 200


def test_the_start_says_which_package_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['websockets'] = None\n"
        "import importlib.util as util; util.find_spec = lambda name: None\n"
        "from groundwork.serve.settings import load_settings; load_settings()"
    )
    variables = server.environment(DATABASE_URL="postgresql://u@h/d", WEBSOCKETS="true")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=server.BACKEND, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert done.stderr.startswith("WEBSOCKETS: needs the package websockets: add ")
    assert done.stderr.count("\n") == 1
