"""The service's own processes are killed, reloaded and stopped."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.process import server

WORKERS = 2


async def wait_for_workers(service: server.Server, killed: int) -> None:
    while killed in service.workers() or len(service.workers()) < WORKERS:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


async def test_a_worker_is_killed(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url(), WEB_CONCURRENCY=str(WORKERS)) as service:
        async with Load(service.port) as load:
            await load.run(2)
            victim = service.workers()[0]
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            async with asyncio.timeout(10):
                await wait_for_workers(service, victim)
            seconds = time.monotonic() - killed
            await load.run(5)
        await load.check(cluster.url())
        no_defect(service)
        events = [event["message"] for event in service.events()]
    before = load.successes(killed - 1.5, killed)
    after = load.successes(killed + 2, killed + 3.5)
    lost = [answer for answer in load.answers if not answer.is_success]
    say(f"{load.describe()}; another worker after {seconds:.2f} s, successes {before} before and {after} after")
    assert {answer.status for answer in lost} <= {0}
    assert not load.refused
    assert all(answer.started < killed + 0.1 for answer in lost), "only what was in flight fails"
    assert seconds < 2
    assert after > before / 2
    assert len([message for message in events if "Booting worker" in message]) == WORKERS + 1


async def test_reload(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url(), WEB_CONCURRENCY=str(WORKERS)) as service:
        async with Load(service.port) as load:
            for _ in range(3):
                await load.run(2)
                before = service.workers()
                service.process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(20):
                    while set(before) & set(service.workers()):  # noqa: ASYNC110 - nothing tells
                        await asyncio.sleep(0.05)
            await load.run(2)
        await load.check(cluster.url())
        no_defect(service)
        assert service.stop() == 0
    say(f"3 reloads: {load.describe()}")
    assert set(load.statuses()) == {200, 201}
    assert not load.refused


@pytest.mark.parametrize("round_", range(3))
async def test_stop(tmp_path: Path, cluster: Cluster, say: Say, round_: int) -> None:
    """Every request that the service has taken is answered. Later connections are refused."""
    with server.running(tmp_path, DATABASE_URL=cluster.url(), WEB_CONCURRENCY=str(WORKERS)) as service:
        async with Load(service.port) as load:
            await load.run(2)
            started = time.monotonic()
            code = await asyncio.to_thread(service.stop)
            seconds = time.monotonic() - started
        await load.check(cluster.url())
        no_defect(service)
    say(f"{load.describe()}; exit code {code} after {seconds:.2f} s")
    assert set(load.statuses()) == {200, 201}
    assert code == 0
    assert seconds < 25
