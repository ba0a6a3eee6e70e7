"""The network to the database is slow or silent, or the database sleeps."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.faults.proxy import Proxy
from groundwork.tests.process import server

WAIT_SECONDS = STATEMENT_SECONDS = 3
DEADLINES = {"DATABASE_WAIT_SECONDS": str(WAIT_SECONDS), "DATABASE_STATEMENT_SECONDS": str(STATEMENT_SECONDS)}
# A busy machine may add two seconds to the deadlines.
SLOWEST_SECONDS = WAIT_SECONDS + STATEMENT_SECONDS + 2
# How long the service waits for a sleeping database.
DEFAULT_WAIT_SECONDS = 10


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    async with Proxy(cluster.port).serving() as proxy:
        yield proxy


async def test_connections_that_died_while_idle(tmp_path: Path, cluster: Cluster, proxy: Proxy, say: Say) -> None:
    """Each request checks at most one dead connection, however many there are."""
    with server.running(tmp_path, DATABASE_URL=cluster.url(port=proxy.port), **DEADLINES) as service:
        async with Load(service.port) as warming:
            await warming.run(2)
        await asyncio.sleep(6)
        proxy.silence()
        before = proxy.attempts
        async with Load(service.port) as load:
            await load.run(3)
        await load.check(cluster.url())
        no_defect(service)
    say(f"{load.describe()}; {proxy.attempts - before} connections opened instead")
    assert set(load.statuses()) == {200, 201}
    assert load.slowest() < 3


async def test_network_falls_silent_under_load(tmp_path: Path, cluster: Cluster, proxy: Proxy, say: Say) -> None:
    """Old connections stay dead. New ones get no answer for five seconds."""
    with server.running(tmp_path, DATABASE_URL=cluster.url(port=proxy.port), **DEADLINES) as service:
        async with Load(service.port) as load:
            await load.run(2)
            proxy.mute = True
            proxy.silence()
            before = proxy.attempts
            await load.run(5)
            proxy.mute = False
            back = time.monotonic()
            attempts = proxy.attempts - before
            await load.run(4)
        await load.check(cluster.url())
        no_defect(service)
    first = load.first_success_after(back)
    say(f"{load.describe()}; {attempts} attempts to connect in 5 s, first success {first:.3f} s after its return")
    assert first < 1
    assert load.slowest() < SLOWEST_SECONDS
    assert attempts < 100


async def test_each_round_trip_takes_200_ms(tmp_path: Path, cluster: Cluster, proxy: Proxy, say: Say) -> None:
    # This tests the deadlines, so the limit of the queue must not refuse requests.
    variables = {**DEADLINES, "DATABASE_QUEUE_SECONDS": str(WAIT_SECONDS)}
    with server.running(tmp_path, DATABASE_URL=cluster.url(port=proxy.port), **variables) as service:
        async with Load(service.port) as load, httpx.AsyncClient() as client:
            await load.run(2)
            proxy.reply_delay_seconds = 0.2
            await load.run(8)
            ready = await client.get(f"{service.url}/health/ready")
        await load.check(cluster.url())
        no_defect(service)
    say(load.describe())
    assert set(load.statuses()) == {200, 201}
    assert load.slowest() < SLOWEST_SECONDS
    assert ready.status_code == 200


@pytest.mark.parametrize("asleep", ["holds", "refuses"])
async def test_sleeping_compute(tmp_path: Path, cluster: Cluster, proxy: Proxy, say: Say, asleep: str) -> None:
    """A compute drops its connections when it sleeps, and needs seconds to wake. The first request waits for it."""
    wake_seconds = 4
    with server.running(tmp_path, DATABASE_URL=cluster.url(port=proxy.port)) as service:
        async with Load(service.port, clients=10) as load:
            await load.run(1)
        if asleep == "holds":
            proxy.hold()
        else:
            proxy.refuse()
        proxy.cut()
        await asyncio.sleep(1)
        async with httpx.AsyncClient(timeout=60) as client:
            started = time.monotonic()
            requests = [asyncio.create_task(client.get(f"{service.url}/api/alice/tasks")) for _ in range(20)]
            await asyncio.sleep(wake_seconds)
            await proxy.wake()
            answers = await asyncio.gather(*requests)
            seconds = time.monotonic() - started
        await load.check(cluster.url())
        no_defect(service)
    say(f"awake after {wake_seconds} s, 20 first requests answered after {seconds:.3f} s")
    assert {answer.status_code for answer in answers} == {200}
    assert seconds < DEFAULT_WAIT_SECONDS
