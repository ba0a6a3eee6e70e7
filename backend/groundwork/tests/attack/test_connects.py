"""A hundred thousand connections, each with a request, which end in every way. They leave nothing in memory."""

import resource
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from groundwork.tests.attack import processes, scaled, wire
from groundwork.tests.process.server import Server

CONNECTIONS = scaled(100_000)
CLIENTS = 4
OPEN_AT_ONCE = 2_000
WAVES = scaled(30)
# The garbage collector runs after 50,000 new objects, and each connection makes some.
TURNS = 3
# The interpreter's memory varies this much. If each connection leaked what it needs, about 6 kB, it would be 600 MB.
ROOM_MB = 40

_KEPT = wire.request("GET", "/health/live")
_CLOSED = wire.request("GET", "/health/live", Connection="close")
_RESET = struct.pack("ii", 1, 0)


def test_closed_connections_leave_nothing_behind(service: Server, show: Callable[[str], None]) -> None:
    _connect_often(service, 5_000)
    before = processes.held(service)
    started = time.monotonic()
    _connect_often(service, CONNECTIONS)
    seconds = time.monotonic() - started
    assert processes.wait_until(lambda: processes.held(service).descriptors <= before.descriptors)
    after = processes.held(service)
    show(
        f"connects: {CONNECTIONS} in {seconds:.0f} s; memory of the workers {before.memory_mb:.1f} MB before,"
        f" {after.memory_mb:.1f} MB after; descriptors {before.descriptors} and {after.descriptors}"
    )
    assert after.memory_mb < before.memory_mb + ROOM_MB


def test_connections_that_live_for_long_leave_nothing_behind(service: Server, show: Callable[[str], None]) -> None:
    """The garbage collector seldom looks at objects that live for long. So nothing may need it to be freed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    _open_many(service)
    before = processes.held(service)
    for _ in range(WAVES):
        _open_many(service)
    assert processes.wait_until(lambda: processes.held(service).descriptors <= before.descriptors)
    after = processes.held(service)
    show(
        f"connects: {WAVES} times {OPEN_AT_ONCE} open at once; memory of the workers {before.memory_mb:.1f} MB before,"
        f" {after.memory_mb:.1f} MB after"
    )
    assert after.memory_mb < before.memory_mb + ROOM_MB


def _open_many(service: Server) -> None:
    """Open many connections of every kind, use each several times while all are open, and close them."""
    with ExitStack() as stack:
        clients = [stack.enter_context(wire.connect(service)) for _ in range(OPEN_AT_ONCE)]
        for turn in range(TURNS):
            for client in clients:
                client.sendall(_KEPT)
            for client in clients:
                assert client.recv(4096).startswith(b"HTTP/1.1 200 "), turn
        for number, client in enumerate(clients):
            if number % 4:
                client.sendall((_KEPT[:-5], b"\x16\x03\r\n\r\n", _CLOSED)[number % 4 - 1])


def _connect_often(service: Server, times: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda number: _connect(service, number), range(times), chunksize=100))


def _connect(service: Server, number: int) -> None:
    """Send one request on a new connection. The service or the client closes it, in order or with a reset."""
    with wire.connect(service) as client:
        client.sendall(_CLOSED if number % 3 == 0 else _KEPT)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        if number % 3 == 1:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
