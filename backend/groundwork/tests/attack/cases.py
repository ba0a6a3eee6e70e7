"""The fuzzer's cases. A seed and a number determine each of them."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from groundwork.fast.connection import FIELD_LIMIT

MISSING = "01990000-0000-7000-8000-000000000000"
_CONTROL = bytes({*range(32), 127} - {*b"\t\r\n"})
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Case(NamedTuple):
    """Bytes for one connection.

    They begin with well-formed requests, whose ids are `ids`. Each of these is answered in its turn. If `broken` is
    true, the rest gets one refusal or no answer, and nothing after that. Otherwise the rest may be anything.
    """

    kind: str
    data: bytes
    ids: list[str]
    heads: frozenset[int]
    statuses: list[int | None]  # of the answers to the well-formed requests; None if it is not known
    broken: bool


class _Message(NamedTuple):
    data: bytes
    status: int | None = None
    method: str = "GET"


def case(seed: int, number: int) -> Case:
    """The case with this number. The same seed gives the same case."""
    random = Random(f"{seed}/{number}")
    kind = random.choice(list(_KINDS))
    before = [_any_valid(random) for _ in range(random.choice([0, 0, 0, 1, 2, 8]))]
    message = _KINDS[kind](random)
    ids = [f"{number}-{place}" for place in range(len(before) + (kind in _WELL_FORMED))]
    messages = [*before, message]
    data = b"".join(each.data.replace(b"@id", ids[place].encode()) for place, each in enumerate(messages[: len(ids)]))
    rest = messages[len(ids) :]
    if rest:
        data += rest[0].data + random.choice([b"", _any_valid(random).data]).replace(b"@id", b"after")
    known = messages[: len(ids)]
    return Case(
        kind,
        data,
        ids,
        frozenset(place for place, each in enumerate(known) if each.method == "HEAD"),
        [each.status for each in known],
        broken=bool(rest) and kind not in _ANYTHING,
    )


def _message(
    method: str, target: bytes, fields: list[bytes] | None = None, body: bytes = b"", status: int | None = None
) -> _Message:
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: test", b"X-Request-ID: @id", *(fields or [])]
    return _Message(b"\r\n".join(lines) + b"\r\n\r\n" + body, status, method)


def _json(body: bytes) -> list[bytes]:
    return [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]


def _any_valid(random: Random) -> _Message:
    body = b'{"title": "fuzz"}'
    return random.choice(
        [
            _message("GET", b"/health/live", status=200),
            _message("GET", b"/api/fuzz/tasks?limit=3", status=200),
            _message("GET", b"/api/fuzz/tasks/" + MISSING.encode(), status=404),
            _message("GET", b"/nowhere", status=404),
            _message("POST", b"/api/fuzz/tasks", _json(body), body, status=201),
            _message("POST", b"/api/fuzz/tasks", _json(b"{}"), b"{}", status=400),
        ]
    )


def _odd_but_valid(random: Random) -> _Message:
    """Unusual ways to write a valid request, which must be understood."""
    body = b'{"title": "fuzz"}'
    half = len(body) // 2
    space = random.choice([b"", b" ", b"\t "])
    chunked = [b"Content-Type: application/json", b"transfer-ENCODING:" + space + b"chunked"]
    pieces = b"%x%s\r\n%s\r\n" % (half, random.choice([b"", b";a=b", b';a="b c"']), body[:half])
    pieces += b"00%X\r\n%s\r\n" % (len(body) - half, body[half:])
    pieces += b"0\r\n" + random.choice([b"", b"X-Request-ID: trailer\r\n", b"A: b\r\nC: d\r\n"]) + b"\r\n"
    upgrade = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + random.choice([b"h2c", b"websocket", b"TLS/1.0"])]
    return random.choice(
        [
            _message("GET", b"http://test/health/live", status=200),
            _message("GET", b"/%68ealth/live", status=200),
            _message("GET", b"/health/live?" + b"a" * random.randrange(5000), status=200),
            _message("GET", b"/health/live", [b"A:" + b"\t " * 20 + b"b" + b" " * 20], status=200),
            _message("GET", b"/health/live", [b"a: \xff\xfe\x80"], status=200),
            _message("GET", b"/health/live", [b"A: b"] * random.randrange(FIELD_LIMIT - 1), status=200),
            _message("GET", b"/health/live", [b"Content-Length: 5"], b"GET /", status=200),
            _message("POST", b"/api/fuzz/tasks", chunked, pieces, status=201),
            _message("POST", b"/api/fuzz/tasks", _json(body) + upgrade, body, status=201),
            _message("POST", b"/api/fuzz/tasks", [*_json(body), b"Expect: 100-continue"], body, status=201),
            _Message(b"\r\n" * random.randrange(1, 9) + _any_valid(random).data),
        ]
    )


def _method(random: Random) -> _Message:
    method = random.choice(["HEAD", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "QUERY", *_METHODS])
    target = random.choice([b"/", b"*", b"/health/live", b"/docs", b"/api/fuzz/tasks", b"/api/fuzz/tasks/x/complete"])
    # Only OPTIONS may have the target `*`. The protocol refuses it for other methods.
    return _message("OPTIONS" if target == b"*" else method, target)


def _target(random: Random) -> _Message:
    """A random path and query, of characters that a request line may hold."""
    parts = ["%00", "%2F", "%2f", "%5C", "%FF", "%C0%AF", "%ED%A0%80", "%F4%90%80%80", "%25", "%252F", "%", "%u0041"]
    parts += ["%4", "%0d%0aX:y", "%E2%82%AC", "%3F", "%23", "a" * 300, "%61" * 256, "..", ".", "/", "//", ";", ";a=b"]
    parts += ["@", ":", "~", "!", "$&'()*+,=", "[", "|", "api", "tasks", "complete", "docs/files", "health", "live"]
    text = "/" + "".join(random.choices(parts, k=random.randrange(12)))
    if random.random() < 0.6:
        text = f"/api/{''.join(random.choices(parts, k=3)).replace('/', '') or 'fuzz'}/tasks" + random.choice(
            ["", "/", f"/{MISSING}", f"/{MISSING}/complete", text]
        )
    if random.random() < 0.6:
        names = ["limit", "cursor", "completed", "limit%00", "Limit", "", "limit[]", "%FF"]
        values = ["1", "0", "-1", "1001", "1e3", "0x1", "%31", "", "true", "yes", "%00", "%FF", "9" * 400, "1;limit=2"]
        values += ["=", "%D9%A1", "1_0", "+1", "null", "NaN", "A", "%F0%9F%98%80", "AQGZAAAAAHAAgAAAAAAAAAA"]
        pairs = [f"{random.choice(names)}={random.choice(values)}" for _ in range(random.randrange(1, 4))]
        text += "?" + random.choice("&&&;").join(pairs)
    return _message(random.choice(_METHODS), text.encode())


def _body(random: Random) -> _Message:
    """A body with random content and a correct length."""
    texts = ["", " ", "\0", "\ud800", "é", "\U0001f600", "a" * 201, "a" * 100_000, "fuzz", "\u2028", " fuzz\u3000"]
    values: list[Any] = [*texts, None, True, 0, -1, 1e308, 10**40, [], {}, [[]], {"title": "fuzz"}]
    names = ["title", "description", "completed", "id", "user_id", ""]
    value = {name: random.choice(values) for name in random.sample(names, 3)}
    raw = random.choice(
        [
            json.dumps(value).encode(),
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"),
            json.dumps(value).encode("utf-16"),
            b"\xef\xbb\xbf" + json.dumps(value).encode(),
            json.dumps(value).encode()[: random.randrange(20)],
            b"[" * random.choice([10, 1000, 100_000]),
            b'{"title":' * random.choice([10, 10_000]),
            b'{"title": NaN}',
            b'{"title": "a", "title": "b"}',
            b'{"title": "\\ud800"}',
            b'{"title": "\\u0000"}',
            b'{"title": ' + b"9" * 10_000 + b"}",
            random.randbytes(random.randrange(200)),
            b" " * random.choice([10, 1_048_576, 1_048_577]),
        ]
    )
    types = [b"application/json"] * 5
    types += [b"text/plain", b"application/json; charset=utf-16", b"application/problem+json", b"", b"\xff", b"a" * 999]
    fields = [b"Content-Type: " + random.choice(types), b"Content-Length: %d" % len(raw)]
    path = random.choice([b"/api/fuzz/tasks", b"/api/fuzz/tasks/" + MISSING.encode()])
    return _message(random.choice(["POST", "PUT"]), path, fields, raw)


def _broken_line(random: Random) -> _Message:
    return _Message(
        random.choice(
            [
                b"GET /health/live HTTP/1.1 \r\n",
                b"GET /health/live  HTTP/9.9\r\n",
                b"GET /health live HTTP/1.1\r\n",
                b"GET\t/health/live\tHTTP/1.1\r\n",
                b"GET /health/live HTTP/1.1\n",
                b"GET /health/live HTTP/1.1\r\r\n",
                b"GET /health/live HTTP/1.x\r\n",
                b"GET /health/live HTTP/11\r\n",
                b"GET /health/live http/1.1\r\n",
                b"get /health/live HTTP/1.1\r\n",
                b"GETS /health/live HTTP/1.1\r\n",
                b"GET health/live HTTP/1.1\r\n",
                b"GET \x00/ HTTP/1.1\r\n",
                b"GET /" + bytes([random.choice(_CONTROL)]) + b" HTTP/1.1\r\n",
                b"GET /" + bytes([random.randrange(128, 256)]) + b" HTTP/1.1\r\n",
                b"GET http:// HTTP/1.1\r\n",
                b"GET * HTTP/1.1\r\n",
                b"GET http://a:b:c@[::1/ HTTP/1.1\r\n",
                b"CONNECT test:443 HTTP/1.1\r\n",
                b"PRI * HTTP/2.0\r\n",
                b"\x16\x03\x01\x02\x00\x01\r\n",
                b"\x00" * random.randrange(1, 100),
                b"A" * random.randrange(50, 100_000) + b" / HTTP/1.1\r\n",
            ]
        )
        + b"Host: test\r\n\r\n"
    )


def _broken_header(random: Random) -> _Message:
    return _message(
        "GET",
        b"/health/live",
        [
            random.choice(
                [
                    b"no colon",
                    b"\r\n".join([b"A: b"] * random.randrange(FIELD_LIMIT, 500)),
                    b"Space : before",
                    b" leading: space",
                    b"A: a\r\n folded",
                    b"A: a\r\n\tfolded",
                    b"A: a\nB: b",
                    b"A: a\rB: b",
                    b"A: a\x00b",
                    b"A: a" + bytes([random.choice(_CONTROL)]),
                    b": no name",
                    b"A(b): c",
                    b"A\x00: c",
                    b"\xe9: c",
                    b"A: b\r\n\n",
                ]
            )
        ],
    )


def _broken_length(random: Random) -> _Message:
    """A length that two readers could understand differently. The smuggled request must never be served."""
    smuggled = b"GET /health/live HTTP/1.1\r\nX-Request-ID: smuggled\r\n\r\n"
    chunks = b"0\r\n\r\n" + smuggled
    fields = random.choice(
        [
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
            [b"Content-Length: 5", b"Content-Length: 6"],
            [b"Content-Length: 5", b"Content-Length: 5"],
            [b"Content-Length: 5, 5"],
            [b"Content-Length: 5 5"],
            [b"Content-Length: -5"],
            [b"Content-Length: +5"],
            [b"Content-Length: 0x5"],
            [b"Content-Length: 5.0"],
            [b"Content-Length: five"],
            [b"Content-Length: \xb2"],
            [b"Content-Length:"],
            [b"Content-Length: " + b"9" * random.choice([20, 400])],
            [b"Content-Length : 5"],
            [b"Content_Length: 5", b"Content-Length\x00: 5"],
            [b"Transfer-Encoding: xchunked"],
            [b"Transfer-Encoding: chunked, identity"],
            [b"Transfer-Encoding: chunked, chunked"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
            [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: \x0bchunked"],
            [b"Transfer-Encoding : chunked"],
            [b"Transfer-Encoding:\r\n chunked"],
            [b"Transfer-Encoding\r: chunked"],
            [b"Transfer-Encoding: 'chunked'"],
            [b"Transfer-Encoding: identity"],
        ]
    )
    return _message("POST", b"/health/live", fields, chunks)


def _broken_chunks(random: Random) -> _Message:
    body = random.choice(
        [
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\na\r\n",
            b"1 \r\na\r\n",
            b"1\na\n0\n\n",
            b"1\r\na\n",
            b"1\r\nab\r\n",
            b"2\r\na\r\n0\r\n\r\n",
            b"1\ra\r\n",
            b"fffffffffffffffff\r\n",
            b"1;\x00\r\na\r\n",
            b"1;a\nb\r\na\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"",
            b"5",
            b"5\r\n{",
        ]
    )
    fields = [b"Content-Type: application/json", b"Transfer-Encoding: chunked"]
    return _message("POST", b"/api/fuzz/tasks", fields, body)


def _too_large(random: Random) -> _Message:
    size = random.choice([400_000, 1_000_000])
    return random.choice(
        [
            _message("GET", b"/" + b"a" * size),
            _message("GET", b"/?" + b"%41" * (size // 3)),
            _message("GET", b"/", [b"A: " + b"a" * size]),
            _message("GET", b"/", [b"a" * size + b": a"]),
            _message("GET", b"/", [b"A: b"] * (size // 2)),
            _message("POST", b"/health/live", [b"Transfer-Encoding: chunked"], b"0\r\nA: " + b"a" * size),
            _message("POST", b"/health/live", [b"Transfer-Encoding: chunked"], b"1;" + b"a" * size),
        ]
    )


def _mutated(random: Random) -> _Message:
    """A valid request with a few bytes changed."""
    data = bytearray(random.choice([_any_valid, _odd_but_valid])(random).data)
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(len(data) + 1)
        end = min(len(data), place + random.randrange(8))
        data[place:end] = random.choice(
            [b"", random.randbytes(1), random.randbytes(4), b"\r\n", b"\n", b"\x00", b" ", b":", data[place:end] * 2]
        )
        data = data or bytearray(b"\x00")
    return _Message(bytes(data))


def _noise(random: Random) -> _Message:
    return _Message(random.randbytes(random.randrange(1, 2000)))


_KINDS: dict[str, Callable[[Random], _Message]] = {
    "valid": _odd_but_valid,
    "method": _method,
    "target": _target,
    "body": _body,
    "broken line": _broken_line,
    "broken header": _broken_header,
    "broken length": _broken_length,
    "broken chunks": _broken_chunks,
    "too large": _too_large,
    "mutated": _mutated,
    "noise": _noise,
}
_WELL_FORMED = {"valid", "method"}
_ANYTHING = {"target", "body", "mutated", "noise"}
