"""What one client can do with its connection: the limits of `groundwork.fast.connection`, over real sockets."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from groundwork.tests.process import server

HOST = b" HTTP/1.1\r\nHost: test\r\n"
LIVE = b"GET /health/live" + HOST + b"\r\n"
LAST = b"GET /health/live" + HOST + b"Connection: close\r\n\r\n"
GARBAGE = b"\x16\x03\x01\r\n\r\n"
WAIT_SECONDS = 1
KEEP_ALIVE_SECONDS = 3


@contextmanager
def serving(directory: Path, database_url: str, **variables: str) -> Iterator[server.Server]:
    """A service whose log has no warning at the end."""
    with server.running(directory, DATABASE_URL=database_url, WEB_CONCURRENCY="1", **variables) as service:
        yield service
    assert [event for event in service.events() if event["level"] != "info"] == []


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A service that waits long for its clients, because a busy machine can stop a test between two parts."""
    seconds = {"CLIENT_WAIT_SECONDS": "60", "KEEP_ALIVE_SECONDS": "60"}
    with serving(tmp_path_factory.mktemp("patient"), module_database, **seconds) as service:
        yield service


@pytest.fixture(scope="module")
def impatient(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    seconds = {"CLIENT_WAIT_SECONDS": str(WAIT_SECONDS), "KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS)}
    with serving(tmp_path_factory.mktemp("impatient"), module_database, **seconds) as service:
        yield service


@pytest.fixture
async def many_tasks(module_database: str) -> str:
    """The path of a list whose answer takes 3 MB."""
    user = uuid4().hex
    connection = await asyncpg.connect(module_database)
    await connection.execute(
        "INSERT INTO tasks (user_id, id, title, description)"
        " SELECT $1, gen_random_uuid(), 'x', repeat('€', 1000) FROM generate_series(1, 1000)",
        user,
    )
    await connection.close()
    return f"/api/{user}/tasks"


def connect(service: server.Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def post(body: bytes, *headers: bytes) -> bytes:
    fields = [b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"POST /api/alice/tasks" + HOST + b"\r\n".join(fields) + b"\r\n\r\n" + body


def read_to_end(client: socket.socket) -> bytes:
    answer = b""
    while part := client.recv(65536):
        answer += part
    return answer


def ask(service: server.Server, *parts: bytes) -> bytes:
    """Send the parts, each after the previous one has arrived. Returns everything until the end of the connection."""
    with connect(service) as client:
        for number, part in enumerate(parts):
            time.sleep(0.1 * bool(number))
            client.sendall(part)
        return read_to_end(client)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def last_problem(answers: bytes) -> httpx.Response:
    """The last answer, which must be a whole problem."""
    head, _, body = answers[answers.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    status, *fields = head.decode("ascii").split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert int(headers["content-length"]) == len(body)
    assert str(json.loads(body)["status"]) == status.split()[1]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


@pytest.mark.parametrize("before", [LIVE, post(b'{"title": "x"}'), post(b'{"title": "x"}') * 20], ids=len)
def test_what_is_no_http_costs_nobody_an_answer(service: server.Server, before: bytes) -> None:
    answers = ask(service, before + GARBAGE)
    assert statuses(answers) == [*statuses(ask(service, before + LAST))[:-1], 400]
    assert last_problem(answers).headers["x-request-id"] in service.log()


def test_a_body_that_breaks_off_is_answered_once_and_in_its_turn(service: server.Server) -> None:
    broken = b"POST /api/alice/tasks" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\nno length\r\n"
    assert statuses(ask(service, post(b'{"title": "x"}') * 2 + broken + LIVE)) == [201, 201, 400]
    assert statuses(ask(service, broken)) == [400]


def test_nothing_follows_an_answer_that_came_before_its_request_was_whole(service: server.Server) -> None:
    head = b"GET /health/live" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert statuses(ask(service, head, b"no length\r\n")) == [200]


@pytest.mark.parametrize("field", [b"Upgrade: h2c", b"Upgrade: websocket"])
@pytest.mark.parametrize("pause", [True, False])
def test_an_upgrade_is_ignored_and_a_body_stays_a_body(service: server.Server, field: bytes, pause: bool) -> None:
    """Otherwise a proxy could see one request, and the service could serve its body as a second one."""
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk", field)
    head, _, body = post(b'{"title": "x"}', *upgrade).partition(b"\r\n\r\n")
    parts = (head + b"\r\n\r\n", body + LAST) if pause else (head + b"\r\n\r\n" + body + LAST,)
    assert statuses(ask(service, *parts)) == [201, 200]
    smuggled = post(LIVE, *upgrade)
    assert statuses(ask(service, smuggled + LAST)) == [400, 200]


def test_connect_is_refused(service: server.Server) -> None:
    assert last_problem(ask(service, b"CONNECT test:443" + HOST + b"\r\n")).status_code == 501


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 70_000 + HOST + b"\r\n",
        b"GET /" + HOST + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /" + HOST + b"A: a\r\n" * 40_000 + b"\r\n",
        b"GET /" + HOST + b"A: " + b"a" * 500_000,  # has no end
        b"POST /api/alice/tasks"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: "
        + b"a" * 500_000,  # nor has this
    ],
    ids=["target", "header", "headers", "endless", "trailer"],
)
def test_a_head_too_large_is_refused(service: server.Server, head: bytes) -> None:
    with connect(service) as client:
        with suppress(OSError):  # the service refuses it before it has read all of it
            client.sendall(head)
        answer = client.recv(65536)
    assert last_problem(answer).status_code == 431


def test_a_head_of_almost_the_limit_is_served(service: server.Server) -> None:
    assert statuses(
        ask(service, b"GET /health/live" + HOST + b"A: " + b"a" * 65_000 + b"\r\nConnection: close\r\n\r\n")
    ) == [200]


def test_trailers_are_no_headers(service: server.Server) -> None:
    head = b"POST /api/alice/tasks" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = ask(service, head + b'e\r\n{"title": "x"}\r\n0\r\nX-Request-ID: trailer\r\n\r\n' + LAST)
    assert statuses(answers) == [201, 200]
    assert b"trailer" not in answers


def test_too_many_pipelined_requests_are_answered_up_to_the_limit(service: server.Server) -> None:
    answers = ask(service, LIVE * 150)
    assert statuses(answers) == [200] * 101 + [400]


@pytest.mark.parametrize("rest", [b"", LIVE[:-2], post(b"{}")[:-1], GARBAGE], ids=["whole", "head", "body", "garbage"])
def test_a_client_that_has_said_all_gets_its_answers(service: server.Server, rest: bytes) -> None:
    with connect(service) as client:
        client.sendall(post(b'{"title": "x"}') + LIVE + rest)
        client.shutdown(socket.SHUT_WR)
        assert statuses(read_to_end(client)) == [201, 200] + [400] * (rest == GARBAGE)


@pytest.mark.parametrize("begun", [b"GET /", LIVE[:-2], post(b'{"title": "x"}')[:-1], LIVE + LIVE[:-2]], ids=len)
def test_a_request_that_never_ends_is_cut_with_408(impatient: server.Server, begun: bytes) -> None:
    started = time.monotonic()
    with connect(impatient) as client:
        client.sendall(begun)
        answers = read_to_end(client)
    assert statuses(answers) == [200] * begun.count(LIVE) + [408]
    assert last_problem(answers).status_code == 408
    assert WAIT_SECONDS <= time.monotonic() - started < 10


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", LIVE])
def test_an_idle_connection_is_closed_without_a_word(impatient: server.Server, sent: bytes) -> None:
    started = time.monotonic()
    assert statuses(ask(impatient, sent)) == [200] * sent.count(LIVE)
    assert KEEP_ALIVE_SECONDS - 0.5 <= time.monotonic() - started < 10


def test_a_client_that_does_not_read_is_cut(impatient: server.Server, many_tasks: str) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", impatient.port))
        # The answers are larger than the system's buffers.
        client.sendall((b"GET " + many_tasks.encode() + HOST + b"\r\n") * 6)
        deadline = time.monotonic() + 20
        while "does not read" not in impatient.log():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert httpx.get(f"{impatient.url}/health/ready").status_code == 200


@pytest.fixture
async def largest_list(module_database: str) -> str:
    """The path of a list whose answer takes 7.4 MB: in JSON, a control character takes six bytes."""
    user = uuid4().hex
    connection = await asyncpg.connect(module_database)
    await connection.execute(
        "INSERT INTO tasks (user_id, id, title, description)"
        " SELECT $1, gen_random_uuid(), repeat(chr(1), 200), repeat(chr(1), 1000) FROM generate_series(1, 1000)",
        user,
    )
    await connection.close()
    return f"/api/{user}/tasks"


def read_slowly(client: socket.socket, seconds: float) -> tuple[bytes, float]:
    """Read to the end, steadily but slowly: about `seconds` for each 7 MB.

    Returns:
        What was read, and the longest pause in seconds. On a busy machine it can be longer than intended.
    """
    answer, longest, read_at = b"", 0.0, time.monotonic()
    with suppress(ConnectionResetError):
        while part := client.recv(16384):
            answer += part
            time.sleep(16384 / 7_400_000 * seconds)
            longest, read_at = max(longest, time.monotonic() - read_at), time.monotonic()
    return answer, longest


@pytest.mark.parametrize("after", [b"", LAST, GARBAGE], ids=["nothing", "a request", "a bad request"])
def test_a_reader_that_is_slow_for_long_gets_all(impatient: server.Server, largest_list: str, after: bytes) -> None:
    """The kernel takes megabytes at once, so the service's own buffer does not show how much the client has read."""
    close = b"" if after else b"Connection: close\r\n"
    answers = b""
    for _ in range(5):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            client.settimeout(20)
            client.connect(("127.0.0.1", impatient.port))
            client.sendall(b"GET " + largest_list.encode() + HOST + close + b"\r\n" + after)
            answers, longest_pause = read_slowly(client, 6 * WAIT_SECONDS)
        if longest_pause < WAIT_SECONDS / 2:  # after a longer one, the service is right to cut the connection
            break
    expected = {b"": [200], LAST: [200, 200], GARBAGE: [200, 400]}
    assert statuses(answers) == expected[after]
    length = int(re.findall(rb"content-length: (\d+)", answers)[0])
    rest = answers.partition(b"\r\n\r\n")[2]
    assert length > 7_000_000
    assert len(json.loads(rest[:length])) == 1000


@pytest.mark.parametrize("after", [b"", GARBAGE], ids=["nothing", "a bad request"])
def test_a_reader_that_stops_is_cut(impatient: server.Server, largest_list: str, after: bytes) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.settimeout(20)
        client.connect(("127.0.0.1", impatient.port))
        client.sendall(b"GET " + largest_list.encode() + HOST + b"\r\n" + after)
        assert client.recv(1000)
        time.sleep(5 * WAIT_SECONDS)
        rest, _ = read_slowly(client, 0)
    assert len(rest) < 1_000_000  # what the kernels had of 7.4 MB


@pytest.mark.parametrize("count", [98, 99, 100, 15_000])
def test_header_fields_have_a_number(service: server.Server, count: int) -> None:
    head = b"GET /health/live" + HOST + b"Connection: close\r\n" + b"A:\r\n" * count
    with connect(service) as client:
        with suppress(OSError):
            client.sendall(head + b"\r\n")
        answer = client.recv(65536)
    assert statuses(answer) == [200 if count == 98 else 431]


def test_the_fields_of_a_head_without_an_end_have_a_number_too(service: server.Server) -> None:
    assert last_problem(ask(service, b"GET /" + HOST + b"A:\r\n" * 200)).status_code == 431
