"""HTTP as bytes: writes requests, and parses the answers strictly."""

import json
import re
import socket
from typing import Any, NamedTuple

from groundwork.tests.process.server import Server

TIMEOUT_SECONDS = 20
_INTERNAL = re.compile(
    rb"traceback|\.py\b|site-packages|asyncpg|sqlalchemy|starlette|uvicorn|gunicorn|httptools|postgres|127\.0\.0\.1"
    rb"|select |insert |update |Internal Server Error|object at 0x",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]

    def json(self) -> Any:
        return json.loads(self.body)


def connect(service: Server) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_SECONDS)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def request(method: str, target: str, body: bytes | None = None, **headers: str) -> bytes:
    """A request as a good client sends it. The argument `x_name` becomes the header `X-Name`."""
    fields = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "test", **headers}.items()]
    if body is not None:
        fields += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", ""]).encode() + (body or b"")


def read_to_end(client: socket.socket) -> bytes:
    """Everything that comes until the service closes the connection, in order or with a reset."""
    answers = b""
    try:
        while part := client.recv(262_144):
            answers += part
    except ConnectionResetError:
        pass  # the service had not read everything when it closed the connection
    return answers


def parse(data: bytes, *, heads: frozenset[int] = frozenset()) -> list[Answer]:
    """All answers in these bytes. No byte may be left over.

    Args:
        heads: the places of the answers to HEAD, which have no body.

    Raises:
        AssertionError: the bytes are not valid HTTP, or an answer holds something that no client should see.
    """
    answers: list[Answer] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        status, *fields = head.decode("ascii").split("\r\n")
        assert separator, head
        assert re.fullmatch(r"HTTP/1\.1 \d{3} [A-Za-z -]+", status), status
        headers = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name not in headers, head
            headers[name] = value
        if status.startswith("HTTP/1.1 100 "):
            continue
        length = 0 if len(answers) in heads else int(headers["content-length"])
        body, data = data[:length], data[length:]
        assert len(body) == length, "half an answer"
        answers.append(Answer(int(status.split()[1]), headers, body))
        _check(answers[-1], has_body=bool(length))
    return answers


def _check(answer: Answer, *, has_body: bool) -> None:
    """Check what holds for every answer to any request."""
    # 501 and 505 are faults of the client: an unknown method, transfer coding or version.
    assert answer.status < 500 or answer.status in (501, 505), answer
    assert answer.headers["x-request-id"]
    if answer.status >= 400 and has_body:
        assert answer.headers["content-type"] == "application/problem+json", answer
        assert answer.json()["status"] == answer.status
        assert not _INTERNAL.search(answer.body), answer
