"""Thousands of clients leave in the middle of a request. The service loses no database connection by it.

No statement goes on in the database either.
"""

import collections
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from urllib.parse import urlsplit

import httpx

from groundwork.testing import postgres
from groundwork.tests.attack import SEED, processes, scaled, wire
from groundwork.tests.process.server import Server

DISCONNECTS = scaled(6_000)
CLIENTS = 50
POOLS = 2 * 10  # the fixture's workers, and the connections of each
ROOM_MB = 50

_TASK = b'{"title": "Buy milk", "description": "' + b"x" * 900 + b'"}'
_CREATE = wire.request("POST", "/api/leaver/tasks", _TASK)
_LIST = wire.request("GET", "/api/leaver/tasks?limit=100")
_OURS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_clients_that_leave_hold_nothing(
    service: Server, postgres_server: postgres.Server, module_database: str, show: Callable[[str], None]
) -> None:
    database = urlsplit(module_database).path.removeprefix("/")
    for _ in range(100):
        httpx.post(f"{service.url}/api/leaver/tasks", content=_TASK, headers={"Content-Type": "application/json"})
    _leave_often(service, 1_000)
    before = processes.held(service)
    started = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        leaving = thread.submit(_leave_often, service, DISCONNECTS)
        most = 0
        while not leaving.done():
            most = max(most, postgres_server.execute(f"SELECT count(*) {_OURS}", database))
            time.sleep(0.05)
        leaving.result()
    seconds = time.monotonic() - started
    busy = f"SELECT count(*) {_OURS} AND state <> 'idle'"
    assert processes.wait_until(lambda: postgres_server.execute(busy, database) == 0)
    assert most <= POOLS
    # The pools may have opened more connections since. Everything else is as before.
    assert processes.wait_until(lambda: processes.held(service).descriptors <= before.descriptors + POOLS)
    after = processes.held(service)
    statuses = collections.Counter(event["status"] for event in service.events() if "route" in event)
    show(
        f"disconnects: {DISCONNECTS} in {seconds:.0f} s; at most {most} connections to PostgreSQL of {POOLS}, none busy"
        f" after; memory {before.memory_mb:.1f} MB before, {after.memory_mb:.1f} MB after; descriptors"
        f" {before.descriptors} and {after.descriptors}; logged as {dict(statuses)}"
    )
    assert set(statuses) == {200, 201, 499}
    assert after.memory_mb < before.memory_mb + ROOM_MB
    assert httpx.get(f"{service.url}/api/leaver/tasks?limit=1").status_code == 200


def _leave_often(service: Server, times: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(lambda number: _leave(service, number), range(times)))


def _leave(service: Server, number: int) -> None:
    random = Random(f"{SEED}/{number}")
    with wire.connect(service) as client:
        if number % 3 == 0:  # before the body's end
            client.sendall(_CREATE[: random.randrange(len(_CREATE) - len(_TASK), len(_CREATE))])
        elif number % 3 == 1:  # after the request
            client.sendall(random.choice([_LIST, _CREATE, _LIST * 3]))
        else:  # in the middle of the answer
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(_LIST * random.choice([1, 5]))
            client.recv(random.randrange(1, 4096))
        if random.random() < 0.5:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
