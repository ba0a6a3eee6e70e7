"""A dump that is taken under load, restored into an empty server: deploy/vm's own scripts, without containers."""

import asyncio
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from groundwork.dev.postgres import DATABASE, find_binaries
from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster, new_cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import ROWS, Load
from groundwork.tests.process import server

SCRIPTS = Path(__file__).parents[4] / "deploy/vm/database"
NAMES = f"SELECT datname FROM pg_database WHERE datname LIKE '{DATABASE}%' ORDER BY 1"


def script(name: str, argument: str, *, cluster: Cluster, backups: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as the container `backup` does, on this server."""
    url = urlsplit(cluster.url())
    variables = {
        "PATH": f"{find_binaries() / 'bin'}:{os.environ['PATH']}",
        "PGHOST": str(url.hostname),
        "PGPORT": str(url.port),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": DATABASE,
        "BACKUP_DIRECTORY": str(backups),
    }
    command = ["bash", str(SCRIPTS / name), argument]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def only_dump(backups: Path) -> Path:
    [dump] = backups.glob("*.dump")
    return dump


async def fetch(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def test_a_dump_under_load_on_an_empty_server(tmp_path: Path, cluster: Cluster, say: Say) -> None:
    postgres.migrate(cluster.url(DATABASE), BACKEND)
    with server.running(tmp_path, DATABASE_URL=cluster.url(DATABASE)) as service:
        async with Load(service.port) as load:
            await load.run(2)
            before = load.acknowledged()
            done = await asyncio.to_thread(script, "backup", "now", cluster=cluster, backups=tmp_path)
            assert done.returncode == 0, done.stderr
            await load.run(2)
        no_defect(service)
    assert set(load.statuses()) == {200, 201}

    dump = only_dump(tmp_path)
    with new_cluster() as empty:
        done = await asyncio.to_thread(script, "restore", str(dump), cluster=empty, backups=tmp_path)
        assert done.returncode == 0, done.stderr
        load.compare_with_dump(before, await fetch(empty.url(DATABASE), ROWS))
        with server.running(tmp_path, DATABASE_URL=empty.url(DATABASE)) as service:
            async with Load(service.port) as after:
                await after.run(1)
            no_defect(service)
        assert set(after.statuses()) == {200, 201}
    say(f"{load.describe()}; {len(before)} tasks acknowledged before a dump of {dump.stat().st_size} bytes")


async def test_what_was_there_stays_under_another_name(tmp_path: Path, cluster: Cluster) -> None:
    assert script("backup", "now", cluster=cluster, backups=tmp_path).returncode == 0
    dump = only_dump(tmp_path)
    # As a pooler is, whose connections would go on in the old database under its new name.
    connected = await asyncpg.connect(cluster.url(DATABASE))
    done = await asyncio.to_thread(script, "restore", str(dump), cluster=cluster, backups=tmp_path)
    assert done.returncode == 0, done.stderr
    assert connected.is_closed()
    present, before = [row["datname"] for row in await fetch(cluster.url(), NAMES)]
    assert present == DATABASE
    assert before.startswith(f"{DATABASE}_before_")
    assert before in done.stderr
    assert await fetch(cluster.url(before), "SELECT 1")


async def test_a_broken_dump_changes_nothing(tmp_path: Path, cluster: Cluster) -> None:
    (tmp_path / "broken.dump").write_bytes(b"PGDMP no dump")
    done = script("restore", str(tmp_path / "broken.dump"), cluster=cluster, backups=tmp_path)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert [row["datname"] for row in await fetch(cluster.url(), NAMES)] == [DATABASE]


def test_a_failed_dump_is_said_and_leaves_the_earlier_ones(tmp_path: Path, cluster: Cluster) -> None:
    earlier = tmp_path / "tasks-api-2020-01-01T030000Z.dump"
    earlier.touch()
    os.utime(earlier, (0, 0))
    # Of one that was killed.
    (tmp_path / ".tasks-api-2020-01-02T030000Z.dump.partial").touch()
    cluster.stop()
    done = script("backup", "now", cluster=cluster, backups=tmp_path)
    assert done.returncode == 1
    assert "NO DUMP WAS MADE" in done.stderr
    assert list(tmp_path.glob("*.dump")) == [earlier]

    cluster.start()
    assert script("backup", "now", cluster=cluster, backups=tmp_path).returncode == 0
    # The earlier one is older than BACKUP_KEEP_DAYS, and no longer the only one.
    [dump] = tmp_path.iterdir()
    assert dump.suffix == ".dump"
    assert dump != earlier
