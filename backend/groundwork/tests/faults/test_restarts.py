"""The database is restarted or killed, or cannot be reached."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from groundwork.tests.faults.cluster import FAST, IMMEDIATE, Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.process import server

WAIT_SECONDS = 3
# A busy machine may add two seconds to the deadline.
SLOWEST_SECONDS = WAIT_SECONDS + 2


@pytest.mark.parametrize("how", [FAST, IMMEDIATE], ids=["fast", "immediate"])
async def test_restart(tmp_path: Path, cluster: Cluster, say: Say, how: signal.Signals) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url(), DATABASE_WAIT_SECONDS=str(WAIT_SECONDS)) as service:
        async with Load(service.port) as load:
            await load.run(2)
            stopped = time.monotonic()
            await asyncio.to_thread(cluster.stop, how)
            await asyncio.to_thread(cluster.start)
            back = time.monotonic()
            await load.run(3)
        await load.check(cluster.url())
        no_defect(service)
    say(f"{load.describe()}; away {back - stopped:.2f} s, first success {load.first_success_after(back):.3f} s later")
    assert load.first_success_after(back) < 1
    assert load.slowest() < SLOWEST_SECONDS


async def test_away_for_ten_seconds(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url(), DATABASE_WAIT_SECONDS=str(WAIT_SECONDS)) as service:
        async with Load(service.port) as load:
            await load.run(2)
            await asyncio.to_thread(cluster.stop)
            await load.run(10)
            await asyncio.to_thread(cluster.start)
            back = time.monotonic()
            await load.run(3)
        await load.check(cluster.url())
        no_defect(service)
    say(f"{load.describe()}; first success {load.first_success_after(back):.3f} s after its return")
    assert load.first_success_after(back) < 1
    assert load.slowest() < SLOWEST_SECONDS
    assert load.statuses()[503]
