"""Clients that send or read as slowly as they can. Other clients do not notice, and each slow one is cut off."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from groundwork.tests.attack import scaled, wire
from groundwork.tests.process.server import Server

CLIENTS_OF_EACH_KIND = scaled(500)
# A client is cut off after one to two times the fixture's CLIENT_WAIT_SECONDS. A busy machine gets twice that.
CUT_WITHIN_SECONDS = 12

_HEAD = b"GET /api/slow/tasks HTTP/1.1\r\nHost: test\r\nA: "
_BODY = b"POST /api/slow/tasks HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
_CHUNKS = _BODY.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked")
BEGINNINGS = {"headers": (_HEAD, b"a"), "bodies": (_BODY, b" "), "chunks": (_CHUNKS, b"1\r\n \r\n")}


async def test_slow_clients_are_cut_and_hold_nobody_up(service: Server, show: Callable[[str], None]) -> None:
    before = await _ordinary_requests(service, asyncio.create_task(asyncio.sleep(2)))
    started = time.monotonic()
    slow = [_drip(service, *begun) for begun in BEGINNINGS.values() for _ in range(CLIENTS_OF_EACH_KIND)]
    attack = asyncio.gather(*slow)
    meanwhile = await _ordinary_requests(service, attack)
    lasted = attack.result()
    assert max(lasted) < CUT_WITHIN_SECONDS
    show(
        f"slow clients: {len(slow)}, each cut with 408 after {min(lasted):.1f} to {max(lasted):.1f} s; others:"
        f" median {1000 * statistics.median(before):.1f} ms before, {1000 * statistics.median(meanwhile):.1f} ms"
        f" meanwhile ({len(meanwhile)} in {time.monotonic() - started:.0f} s, slowest {1000 * max(meanwhile):.0f} ms)"
    )
    assert statistics.median(meanwhile) < 0.5


async def _drip(service: Server, begun: bytes, drop: bytes) -> float:
    """Send about a byte per second until the service closes the connection. Returns the seconds until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    started = time.monotonic()
    answer = asyncio.ensure_future(reader.read())
    writer.write(begun)
    while not answer.done():
        assert time.monotonic() - started < 5 * CUT_WITHIN_SECONDS, "not cut"
        writer.write(drop)
        await asyncio.wait([answer], timeout=1)
    lasted = time.monotonic() - started
    writer.close()
    assert [each.status for each in wire.parse(await answer)] == [408]
    return lasted


async def _ordinary_requests(service: Server, until: asyncio.Future[Any]) -> list[float]:
    """Send one request after the other on one connection. Returns the seconds that each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    seconds = []
    for number in itertools.count():
        started = time.monotonic()
        writer.write(wire.request("GET", "/api/quick/tasks", X_Request_ID=str(number)))
        head = await reader.readuntil(b"\r\n\r\n")
        [answer] = wire.parse(head + await reader.readexactly(2))
        assert (answer.status, answer.id, answer.body) == (200, str(number), b"[]")
        seconds.append(time.monotonic() - started)
        if until.done():
            writer.close()
            return seconds
        await asyncio.sleep(0.005)
    raise AssertionError
