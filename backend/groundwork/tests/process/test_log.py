"""If the log cannot be written, its lines are lost, but every request is answered."""

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.test_metrics import Scraped

_CREATES = 5
_BODY = b'{"title": "x"}'
_CREATE = b"POST /api/%s/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"


class Running:
    """A service whose standard error is `stderr`."""

    def __init__(self, stderr: int, service_url: str) -> None:
        self.port, self._metrics_port = server.free_port(), server.free_port()
        variables = {"PORT": str(self.port), "METRICS_PORT": str(self._metrics_port), "DATABASE_URL": service_url}
        self.process = subprocess.Popen(
            server.COMMAND,
            cwd=server.BACKEND,
            env=server.environment(WEB_CONCURRENCY="2", **variables),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )

    def wait_until_live(self) -> None:
        deadline = time.monotonic() + server.START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/health/live")
            except httpx.TransportError:
                assert self.process.poll() is None, self.process.returncode
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def lost(self) -> float:
        return Scraped.of(httpx.get(f"http://127.0.0.1:{self._metrics_port}/metrics").text).value(
            "log_lines_lost_total"
        )

    def lost_when_settled(self) -> float:
        """The number of lost lines, once it no longer changes. A line is written a moment after its answer."""
        before, now = -1.0, self.lost()
        while before != now:
            time.sleep(0.2)
            before, now = now, self.lost()
        return now

    def create_pipelined(self, user: bytes, count: int = _CREATES) -> int:
        """Send creates at once on one connection. Returns how many are answered with 201."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            last = count - 1
            for number in range(count):
                close = b"Connection: close\r\n" if number == last else b""
                client.sendall(_CREATE % (user, len(_BODY)) + close + b"\r\n" + _BODY)
            received = b""
            while part := client.recv(65536):
                received += part
        return received.count(b"HTTP/1.1 201 ")


@contextmanager
def running(stderr: int, service_url: str) -> Iterator[Running]:
    service = Running(stderr, service_url)
    try:
        service.wait_until_live()
        yield service
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


async def rows(url: str) -> int:
    connection = await asyncpg.connect(url)
    count: int = await connection.fetchval("SELECT count(*) FROM tasks")
    await connection.close()
    return count


def _pipe_without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _socket_without_reader() -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


@pytest.mark.parametrize("open_", [_full_device, _pipe_without_reader, _socket_without_reader])
async def test_a_log_that_fails_costs_no_answer(open_: Callable[[], int], service_url: str, database_url: str) -> None:
    stderr = open_()
    with running(stderr, service_url) as service:
        assert service.create_pipelined(b"alice") == _CREATES
        assert service.lost() >= _CREATES
    os.close(stderr)
    assert await rows(database_url) == _CREATES


def _fill(fd: int) -> None:
    """Fill the pipe. The file's flags, which others share, are restored afterwards."""
    os.set_blocking(fd, False)
    try:
        while os.write(fd, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(fd, True)


def _drain(fd: int) -> bytes:
    os.set_blocking(fd, False)
    data = b""
    try:
        while part := os.read(fd, 1 << 20):
            data += part
    except BlockingIOError:
        return data
    return data


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_reader_that_stalls_delays_nothing(kind: str, service_url: str, database_url: str) -> None:
    """The reader stalls from before the start to after the stop. In between it reads once, and lines come again."""
    if kind == "pipe":
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    else:
        reader, writer = (end.detach() for end in socket.socketpair())
    _fill(writer)
    with running(writer, service_url) as service:
        assert service.create_pipelined(b"alice", 60) == 60
        lost = service.lost_when_settled()
        assert lost >= 60
        _drain(reader)
        assert service.create_pipelined(b"bob") == _CREATES
        lines = _drain(reader).splitlines()
        assert sum(b'"method": "POST"' in line for line in lines) == _CREATES
        assert all(line.startswith(b"{") and line.endswith(b"}") for line in lines)
        assert service.lost_when_settled() == lost
        _fill(writer)
    assert await rows(database_url) == 60 + _CREATES
    os.close(reader)
    os.close(writer)
