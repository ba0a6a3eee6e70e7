"""The database answers, but its statements wait for locks."""

import asyncio
import time
from pathlib import Path

import asyncpg
import httpx

from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.process import server

WAIT_SECONDS = STATEMENT_SECONDS = 2
POOL_SIZE = 3
# A busy machine may add two seconds to the deadlines.
SLOWEST_SECONDS = WAIT_SECONDS + STATEMENT_SECONDS + 2
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation'"


async def test_lock_on_the_table(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    """Deadlines hold, no statement keeps waiting on the server, and the service reports its true state."""
    variables = {
        "DATABASE_URL": cluster.url(),
        "DATABASE_WAIT_SECONDS": str(WAIT_SECONDS),
        "DATABASE_STATEMENT_SECONDS": str(STATEMENT_SECONDS),
        "DATABASE_POOL_SIZE": str(POOL_SIZE),
    }
    holder, watcher = await asyncpg.connect(cluster.url()), await asyncpg.connect(cluster.url())
    with server.running(tmp_path, **variables) as service:
        async with Load(service.port) as load, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            await load.run(2)
            await holder.execute("BEGIN; LOCK TABLE tasks")
            live, ready, waiting = [], [], []
            for _ in range(16):
                await load.run(0.5)
                started = time.monotonic()
                assert (await client.get("/health/live")).status_code == 200
                live.append(time.monotonic() - started)
                waiting.append(await watcher.fetchval(BUSY))
            # The check needs a connection, as every request does, and cannot get one.
            ready.append((await client.get("/health/ready")).status_code)
            await holder.execute("ROLLBACK")
            back = time.monotonic()
            await load.run(2)
            left = await watcher.fetchval(BUSY)
            ready.append((await client.get("/health/ready")).status_code)
        await load.check(cluster.url())
        no_defect(service)
    await asyncio.gather(holder.close(), watcher.close())
    say(
        f"{load.describe()}; at most {max(waiting)} statements wait on the server, liveness within"
        f" {max(live):.3f} s, first success {load.first_success_after(back):.3f} s after the lock's end"
    )
    assert load.slowest() < SLOWEST_SECONDS
    assert max(live) < 1
    assert max(waiting) <= 2 * POOL_SIZE
    assert not left
    assert ready[1] == 200
    assert load.first_success_after(back) < 1
