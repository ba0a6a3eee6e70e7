"""A hundred thousand connections, each with a request, ended in every way: nothing of them stays."""

import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.attack import processes, scaled, wire
from tests.process.server import Server

CONNECTIONS = scaled(100_000)
CLIENTS = 4
# The interpreter's own ups and downs; a leak of what one connection needs, about 6 kB, would be 600 MB.
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


def _connect_often(service: Server, times: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda number: _connect(service, number), range(times), chunksize=100))


def _connect(service: Server, number: int) -> None:
    """One request on a connection of its own. The service closes it, or the client, in order or with a reset."""
    with wire.connect(service) as client:
        client.sendall(_CLOSED if number % 3 == 0 else _KEPT)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        if number % 3 == 1:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
