"""The database answers but takes no writes, after a failover or with a full disk."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster, make_cluster, running
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.faults.proxy import Proxy
from groundwork.tests.process import server

DISK_BYTES = 96 * 1024 * 1024
STATEMENT_SECONDS = 3


def statuses(load: Load, start: float, end: float) -> dict[str, set[int]]:
    """The statuses of reads and of writes that began and ended between two moments."""
    found: dict[str, set[int]] = {"read": set(), "write": set()}
    for answer in load.answers:
        if answer.started >= start and answer.ended <= end:
            found["read" if answer.operation == "read" else "write"].add(answer.status)
    return found


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def set_read_only(url: str, value: str) -> None:
    await execute(url, f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()")


async def test_read_only(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url()) as service:
        async with Load(service.port) as load:
            await load.run(2)
            await set_read_only(cluster.url(), "on")
            await load.run(0.5)
            start = time.monotonic()
            await load.run(4)
            end = time.monotonic()
            await set_read_only(cluster.url(), "off")
            back = time.monotonic()
            await load.run(2)
        await load.check(cluster.url())
        no_defect(service)
    first = load.first_success_after(back, operation="create")
    say(f"{load.describe()}; first write {first:.3f} s after its end")
    assert statuses(load, start, end) == {"read": {200}, "write": {503}}
    assert first < 1


@pytest.mark.parametrize("address", ["moves", "names both"])
async def test_failover(tmp_path: Path, cluster: Cluster, say: Say, address: str) -> None:
    """The old primary goes on as a read-only server. Connections to it must not be kept."""
    async with Proxy(cluster.port).serving() as proxy:
        with cluster.standby() as standby:
            both = cluster.url().replace("/postgres", f",127.0.0.1:{standby.port}/postgres")
            moving = cluster.url(port=proxy.port)
            url = moving if address == "moves" else f"{both}?target_session_attrs=read-write"
            with server.running(tmp_path, DATABASE_URL=url) as service:
                async with Load(service.port) as load:
                    await load.run(2)
                    await set_read_only(cluster.url(), "on")
                    await load.run(1)  # the standby has all by now
                    await execute(standby.url(), "SELECT pg_promote()")
                    await set_read_only(standby.url(), "off")
                    proxy.target_port = standby.port
                    switched = time.monotonic()
                    await load.run(4)
                    end = time.monotonic()
                await load.check(standby.url())
                no_defect(service)
    first = load.first_success_after(switched, operation="create")
    say(f"{load.describe()}; first write on the new primary {first:.3f} s after the switch")
    assert first < 1
    assert statuses(load, switched + 2, end) == {"read": {200}, "write": {200, 201}}


@pytest.mark.parametrize("address", ["moves", "names both"])
async def test_failover_from_a_silent_primary(tmp_path: Path, cluster: Cluster, say: Say, address: str) -> None:
    """The old primary takes connections and answers nothing, like a machine that has lost its disk or its CPU."""
    deadlines = {"DATABASE_WAIT_SECONDS": "10", "DATABASE_STATEMENT_SECONDS": str(STATEMENT_SECONDS)}
    async with Proxy(cluster.port).serving() as proxy:
        with cluster.standby() as standby:
            both = cluster.url().replace("/postgres", f",127.0.0.1:{standby.port}/postgres")
            moving = cluster.url(port=proxy.port)
            url = moving if address == "moves" else f"{both}?target_session_attrs=read-write"
            with server.running(tmp_path, DATABASE_URL=url, **deadlines) as service:
                async with Load(service.port) as load:
                    await load.run(2)
                    await set_read_only(cluster.url(), "on")
                    await load.run(1)  # the standby has all by now
                    cluster.freeze()
                    await execute(standby.url(), "SELECT pg_promote()")
                    await set_read_only(standby.url(), "off")
                    proxy.target_port = standby.port
                    switched = time.monotonic()
                    await load.run(STATEMENT_SECONDS + 6)
                    end = time.monotonic()
                await load.check(standby.url())
                no_defect(service)
    first = load.first_success_after(switched, operation="create")
    say(f"{load.describe()}; first write on the new primary {first:.3f} s after the switch")
    # Requests in flight wait for their deadline. The new primary answers later ones.
    assert first < STATEMENT_SECONDS + 3
    assert load.slowest() < STATEMENT_SECONDS + 10
    assert statuses(load, switched + STATEMENT_SECONDS + 3, end) == {"read": {200}, "write": {200, 201}}


@pytest.fixture
def full_disk() -> Iterator[tuple[Cluster, Path]]:
    """A server whose data is on a small disk of its own, and that disk."""
    if os.geteuid():
        pytest.skip("a small disk can only be mounted by root")
    with tempfile.TemporaryDirectory() as name:
        disk = Path(name)
        disk.chmod(0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", name]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            with running(make_cluster(disk, wal_recycle="off", max_wal_size="32MB")) as cluster:
                postgres.migrate(cluster.url(), BACKEND)
                yield cluster, disk
        finally:
            subprocess.run(["umount", name], check=True)


async def test_disk_full(tmp_path: Path, full_disk: tuple[Cluster, Path], say: Say) -> None:
    cluster, disk = full_disk
    with server.running(tmp_path, DATABASE_URL=cluster.url()) as service:
        async with Load(service.port) as load:
            await load.run(2)
            fill_up(disk / "fill")
            await load.run(1)
            start = time.monotonic()
            await load.run(4)
            end = time.monotonic()
            (disk / "fill").unlink()
            back = time.monotonic()
            await load.run(3)
        await load.check(cluster.url())
        no_defect(service)
    first = load.first_success_after(back, operation="create")
    said = "could not extend file" in cluster.log()
    reads = ", ".join(str(status) for status in sorted(statuses(load, start, end)["read"]))
    say(f"{load.describe()}; reads meanwhile {reads}, first write {first:.3f} s after there is room")
    assert said
    assert 200 in statuses(load, start, end)["read"]
    assert 503 in statuses(load, start, end)["write"]
    assert first < 1


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
