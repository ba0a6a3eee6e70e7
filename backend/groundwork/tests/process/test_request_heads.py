"""Which heads are refused, over a real socket. What follows a refused head is never served as another request."""

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from groundwork.tests.process import server
from groundwork.tests.process.test_connections import LAST, ask, connect, last_problem, statuses

GET = b"GET /health/live HTTP/1.1\r\n"
POST = b"POST /api/alice/tasks HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
TITLE = b'{"title": "x"}'
CHUNKED = b"e\r\n" + TITLE + b"\r\n0\r\n\r\n"
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: test\r\nX-Request-ID: smuggled\r\n\r\n"

REFUSED = {
    # Which host (RFC 9112, 3.2)
    "no host": (400, GET + b"\r\n"),
    "two hosts": (400, GET + b"Host: test\r\nHost: test\r\n\r\n"),
    "two hosts to HTTP/1.0": (400, GET.replace(b"1.1", b"1.0") + b"Host: a\r\nHost: b\r\n\r\n"),
    "a host with a blank": (400, GET + b"Host: a b\r\n\r\n"),
    "a host with a path": (400, GET + b"Host: test/a\r\n\r\n"),
    "a host with a user": (400, GET + b"Host: user@test\r\n\r\n"),
    "a list of hosts": (400, GET + b"Host: a, b\r\n\r\n"),
    "a port that is no number": (400, GET + b"Host: test:http\r\n\r\n"),
    "a host with a bad escape": (400, GET + b"Host: a%zz\r\n\r\n"),
    "a bracket that stays open": (400, GET + b"Host: [::1\r\n\r\n"),
    "a host that is not ASCII": (400, GET + "Host: tést\r\n\r\n".encode()),
    # How long (RFC 9112, 6)
    "a length with a sign": (400, POST + b"Content-Length: +14\r\n\r\n" + TITLE),
    "a negative length": (400, POST + b"Content-Length: -14\r\n\r\n" + TITLE),
    "a list of lengths": (400, POST + b"Content-Length: 14, 14\r\n\r\n" + TITLE),
    "two lengths": (400, POST + b"Content-Length: 14\r\nContent-Length: 14\r\n\r\n" + TITLE),
    "two different lengths": (400, POST + b"Content-Length: 14\r\nContent-Length: 0\r\n\r\n" + TITLE),
    "an empty length": (400, POST + b"Content-Length: \r\n\r\n" + TITLE),
    "a hexadecimal length": (400, POST + b"Content-Length: 0xe\r\n\r\n" + TITLE),
    "a fractional length": (400, POST + b"Content-Length: 14.0\r\n\r\n" + TITLE),
    "thousands of nines": (400, POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + TITLE),
    "beyond 64 bits": (400, POST + b"Content-Length: 18446744073709551616\r\n\r\n" + TITLE),
    "beyond 63 bits": (413, POST + b"Content-Length: 9223372036854775808\r\n\r\n" + TITLE),
    "gzip, chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED),
    "gzip and chunked": (501, POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED),
    "identity, chunked": (501, POST + b"Transfer-Encoding: identity, chunked\r\n\r\n" + CHUNKED),
    "gzip": (400, POST + b"Transfer-Encoding: gzip\r\n\r\n" + CHUNKED),
    "identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKED),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED),
    "a quoted coding": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKED),
    "a coding with a parameter": (400, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + CHUNKED),
    "a coding and a tab": (400, POST + b"Transfer-Encoding: chunked\t\r\n\r\n" + CHUNKED),
    "an empty coding": (400, POST + b"Transfer-Encoding: \r\n\r\n" + CHUNKED),
    "an empty element": (400, POST + b"Transfer-Encoding: ,chunked\r\n\r\n" + CHUNKED),
    "chunked, chunked": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKED),
    "chunked and chunked": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED),
    "chunked, gzip": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKED),
    "chunked and a length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKED),
    "a length and chunked": (400, POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED),
    "chunked in HTTP/1.0": (400, POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED),
    "a bad size of a chunk": (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0xe\r\n" + TITLE + b"\r\n0\r\n\r\n"),
    "a length in the trailers": (
        400,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n",
    ),
    # Which version and method
    "HTTP/2.0": (505, GET.replace(b"1.1", b"2.0") + b"Host: test\r\n\r\n"),
    "HTTP/2.0 that stays": (505, GET.replace(b"1.1", b"2.0") + b"Host: test\r\nConnection: keep-alive\r\n\r\n"),
    "HTTP/2.0 that upgrades": (
        505,
        GET.replace(b"1.1", b"2.0") + b"Host: test\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
    ),
    "HTTP/3.0": (505, GET.replace(b"1.1", b"3.0") + b"Host: test\r\n\r\n"),
    "HTTP/1.2": (505, GET.replace(b"1.1", b"1.2") + b"Host: test\r\n\r\n"),
    "HTTP/0.9": (505, GET.replace(b"1.1", b"0.9") + b"Host: test\r\n\r\n"),
    "a line of HTTP/0.9": (505, b"GET /health/live\r\n\r\n"),
    "HTTP/2's beginning": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no version": (400, b"GET /health/live HTTP/\r\nHost: test\r\n\r\n"),
    "http/1.1": (400, b"GET /health/live http/1.1\r\nHost: test\r\n\r\n"),
    "a method that nobody knows": (501, b"BREW /health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a method in lower case": (501, b"get /health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "CONNECT": (501, b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    # Where to (RFC 9112, 3.2)
    "GET *": (400, b"GET * HTTP/1.1\r\nHost: test\r\n\r\n"),
    "OPTIONS *a": (400, b"OPTIONS *a HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a relative path": (400, b"GET health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "another scheme": (400, b"GET ftp://test/health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a URL with a user": (400, b"GET http://user:word@test/health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a URL without a host": (400, b"GET http:///health/live HTTP/1.1\r\nHost: test\r\n\r\n"),
    "a URL and no Host": (400, b"GET http://test/health/live HTTP/1.1\r\n\r\n"),
    # Header fields
    "a folded line": (400, GET + b"Host: test\r\nA: b\r\n c\r\n\r\n"),
    "a folded first line": (400, GET + b" A: b\r\nHost: test\r\n\r\n"),
    "bare LF": (400, GET.replace(b"\r", b"") + b"Host: test\n\n"),
    "bare LF in the headers": (400, GET + b"Host: test\nA: b\r\n\r\n"),
    "bare CR": (400, GET + b"Host: test\r\nA: b\rC: d\r\n\r\n"),
    "NUL in a value": (400, GET + b"Host: test\r\nA: b\0c\r\n\r\n"),
    "a control character in a value": (400, GET + b"Host: test\r\nA: b\x7fc\r\n\r\n"),
    "a blank before the colon": (400, GET + b"Host : test\r\n\r\n"),
    "a tab before the colon": (400, GET + b"Host: test\r\nContent-Length\t: 5\r\n\r\n"),
    "no name": (400, GET + b"Host: test\r\n: a\r\n\r\n"),
    "no colon": (400, GET + b"Host: test\r\nA\r\n\r\n"),
    "a large head": (431, GET + b"Host: test\r\nA: " + b"a" * 66_000 + b"\r\n\r\n"),
}

SERVED = {
    "a whole URL": b"GET http://other:80/health/live HTTP/1.1\r\nHost: test\r\n\r\n",
    "a whole URL in upper case": b"GET HTTPS://TEST/health/live?a=b HTTP/1.1\r\nHost: test\r\n\r\n",
    "an empty host": GET + b"Host:\r\n\r\n",
    "a host with blanks around": GET + b"Host: \t test:8000 \t\r\n\r\n",
    "an IPv6 address": GET + b"Host: [::1]:8000\r\n\r\n",
    "an underscore": GET + b"Host: my_service:8000\r\n\r\n",
    "an escaped name": GET + b"Host: t%C3%A9st\r\n\r\n",
    "another expectation": GET + b"Host: test\r\nExpect: 200-ok\r\n\r\n",
}


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """One service for all of these tests. Nothing that a client sends may cause a warning in its log."""
    variables = {
        "DATABASE_URL": module_database,
        "WEB_CONCURRENCY": "1",
        "CLIENT_WAIT_SECONDS": "2",
        "REQUEST_BODY_LIMIT_BYTES": "100000",
    }
    with server.running(tmp_path_factory.mktemp("heads"), **variables) as service:
        yield service
    assert [event for event in service.events() if event["level"] != "info"] == []


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_and_nothing_after_it_is_served(service: server.Server, case: str) -> None:
    status, head = REFUSED[case]
    answers = ask(service, head + SMUGGLED)
    assert statuses(answers) == [status], answers
    refusal = last_problem(answers)
    assert parsedate_to_datetime(refusal.headers["date"])
    assert refusal.headers["x-content-type-options"] == "nosniff"
    assert refusal.headers["cache-control"] == "no-store"
    assert refusal.headers["x-request-id"] in service.log()


@pytest.mark.parametrize("case", ["two hosts", "gzip, chunked", "HTTP/2.0", "a relative path", "no host"])
def test_what_came_before_is_answered(service: server.Server, case: str) -> None:
    status, head = REFUSED[case]
    assert statuses(ask(service, SMUGGLED + head + SMUGGLED)) == [200, status]


@pytest.mark.parametrize("case", SERVED)
def test_it_is_served_and_so_is_what_follows(service: server.Server, case: str) -> None:
    assert statuses(ask(service, SERVED[case] + LAST)) == [200, 200]


def test_a_refused_coding_has_no_effect(service: server.Server) -> None:
    """The parser alone would refuse it only after the application has begun."""
    task = json.loads(
        ask(service, POST + b"Connection: close\r\nContent-Length: 14\r\n\r\n" + TITLE).split(b"\r\n\r\n")[1]
    )
    path = f"/api/alice/tasks/{task['id']}".encode()
    for coding in (b"gzip", b"chunked\t", b'"chunked"'):
        head = b"DELETE " + path + b" HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
        assert statuses(ask(service, head)) == [400]
    assert statuses(ask(service, b"GET " + path + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")) == [200]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_target_that_is_a_host_alone_is_the_root(service: server.Server, version: bytes) -> None:
    line = b" HTTP/" + version + b"\r\nHost: test\r\nConnection: close\r\n\r\n"
    for target in (b"/", b"http://test", b"http://test?a=b"):
        assert statuses(ask(service, b"GET " + target + line)) == [200]


def test_options_of_the_whole_service_is_answered(service: server.Server) -> None:
    """There is nothing to report about all paths at once."""
    assert statuses(ask(service, b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n" + LAST)) == [404, 200]


def test_a_known_method_that_no_path_has_is_405(service: server.Server) -> None:
    answers = ask(service, b"TRACE /health/live HTTP/1.1\r\nHost: test\r\n\r\n" + LAST)
    assert statuses(answers) == [405, 200]


def test_a_length_with_thousands_of_zeros_is_400(service: server.Server) -> None:
    """The parser accepts this length, and takes what follows the body for another request."""
    answers = ask(service, POST + b"Content-Length: " + b"0" * 5000 + b"14\r\n\r\n" + TITLE + LAST)
    assert statuses(answers) == [400, 200]


@pytest.mark.parametrize("field", [b"Content-Length: 14 \t", b"Transfer-Encoding: chunked "])
def test_blanks_at_the_end_are_no_part_of_a_value(service: server.Server, field: bytes) -> None:
    body = TITLE if b"Length" in field else CHUNKED
    head = POST.replace(b"/json", b"/json \t") + b"X-Request-ID: mine \t \r\n" + field + b"\r\n\r\n"
    answers = ask(service, head + body + LAST)
    assert statuses(answers) == [201, 200]
    assert b"x-request-id: mine\r\n" in answers


@pytest.mark.parametrize(
    ("version", "expectation", "interim"),
    [
        (b"1.1", b"100-continue", True),
        (b"1.1", b"100-Continue \t", True),
        (b"1.0", b"100-continue", False),
        (b"1.1", b"x", False),
    ],
)
def test_100_continue(service: server.Server, version: bytes, expectation: bytes, interim: bool) -> None:
    head = POST.replace(b"1.1", version) + b"Expect: " + expectation + b"\r\nConnection: close\r\n"
    with connect(service) as client:
        client.sendall(head + b"Content-Length: 14\r\n\r\n")
        answers = client.recv(65536) if interim else b""
        client.sendall(TITLE)
        while part := client.recv(65536):
            answers += part
    assert statuses(answers) == [100, 201] if interim else [201]


def test_a_request_that_never_ends_is_refused_with_the_same_headers(service: server.Server) -> None:
    refusal = last_problem(ask(service, GET))
    assert refusal.status_code == 408
    assert parsedate_to_datetime(refusal.headers["date"])
    assert (refusal.headers["cache-control"], refusal.headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize(
    "path", [b"/api/%zz/tasks", b"/api/alice%/tasks", b"/api/alice/tasks%2", b"/%g0", b"/api/%%32%35/tasks"]
)
def test_a_percent_sign_alone_is_no_path(service: server.Server, path: bytes) -> None:
    answers = ask(service, b"GET " + path + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert statuses(answers) == [400]
    (error,) = last_problem(answers).json()["errors"]
    assert (error["loc"], error["type"]) == (["path"], "invalid_percent_encoding")


@pytest.mark.parametrize(("query", "status"), [(b"limit=%zz", 400), (b"completed=%", 400), (b"other=100%", 200)])
def test_a_percent_sign_alone_in_a_query_is_itself(service: server.Server, query: bytes, status: int) -> None:
    """Browsers send it (the URL standard of WHATWG). A parameter that does not allow it is refused."""
    line = b"GET /api/alice/tasks?" + query + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    assert statuses(ask(service, line)) == [status]
