"""Streams over real sockets, with the real worker, on both of its protocols."""

import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
def requested(service: Server, path: str, *, until: bytes = b"\r\n\r\n", method: str = "GET") -> Iterator[socket.socket]:
    """A connection that has sent a request, and has received its answer up to `until`."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        received = b""
        while until not in received:
            part = connection.recv(65536)
            assert part, received
            received += part
        yield connection


def access_line(service: Server) -> dict[str, Any]:
    """The line of the one request with a stream."""
    service.wait_for_log('"stream": "')
    (line,) = [event for event in service.events() if "stream" in event]
    return line


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(("path", "until"), [("ticks", b"data: 0"), ("ticks/late", b"\r\n\r\n")])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_is_noticed(service: Server, path: str, until: bytes, how: str) -> None:
    """In the middle and before the first event. The generator would wait for an hour."""
    with requested(service, f"/api/alice/{path}", until=until) as connection:
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left = time.monotonic()
    service.wait_for_log("generator ended")
    line = access_line(service)
    assert time.monotonic() - left < 10  # FastAPI's ping would tell after 15 s
    assert (line["stream"], line["status"], line["level"]) == ("broken off", 200, "info")
    assert "Traceback" not in service.log()
