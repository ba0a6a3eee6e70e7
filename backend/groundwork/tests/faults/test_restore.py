"""A dump is taken under load and restored into an empty server, by deploy/vm's own scripts without containers."""

import asyncio
import gzip
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from groundwork.dev.postgres import DATABASE, find_binaries
from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster, new_cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import ROWS, Load
from groundwork.tests.process import server

SCRIPTS = Path(__file__).parents[4] / "deploy/vm/database"
Done = subprocess.CompletedProcess[str]
NAMES = f"SELECT datname FROM pg_database WHERE datname LIKE '{DATABASE}%' ORDER BY 1"


@pytest.fixture
def migrated(cluster: Cluster) -> Cluster:
    postgres.migrate(cluster.url(DATABASE), BACKEND)
    return cluster


def script(name: str, *arguments: str, cluster: Cluster, backups: Path, shims: Path = SCRIPTS) -> Done:
    """Run a script as the container `backup` does, on this server. Programs in `shims` replace the real ones."""
    url = urlsplit(cluster.url())
    variables = {
        "PATH": f"{shims}:{find_binaries() / 'bin'}:{os.environ['PATH']}",
        "PGHOST": str(url.hostname),
        "PGPORT": str(url.port),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": DATABASE,
        "BACKUP_DIRECTORY": str(backups),
    }
    command = ["bash", str(SCRIPTS / name), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def restore(dump: Path, cluster: Cluster) -> str:
    """Run the scripts as deploy/vm/restore does. Returns their output."""
    name, said = f"{DATABASE}_restored_1", ""
    for part in (["check", str(dump)], ["load", str(dump), name], ["swap", name]):
        done = script("restore", *part, cluster=cluster, backups=dump.parent)
        assert done.returncode == 0, done.stderr
        said += done.stderr
    return said


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
        await asyncio.to_thread(restore, dump, empty)
        load.compare_with_dump(before, await fetch(empty.url(DATABASE), ROWS))
        with server.running(tmp_path, DATABASE_URL=empty.url(DATABASE)) as service:
            async with Load(service.port) as after:
                await after.run(1)
            no_defect(service)
        assert set(after.statuses()) == {200, 201}
    say(f"{load.describe()}; {len(before)} tasks acknowledged before a dump of {dump.stat().st_size} bytes")


async def test_what_was_there_stays_under_another_name(tmp_path: Path, migrated: Cluster) -> None:
    assert script("backup", "now", cluster=migrated, backups=tmp_path).returncode == 0
    dump = only_dump(tmp_path)
    # It is connected as a pooler is. A pooler's connections would go on in the old database under its new name.
    connected = await asyncpg.connect(migrated.url(DATABASE))
    said = await asyncio.to_thread(restore, dump, migrated)
    assert connected.is_closed()
    present, before = [row["datname"] for row in await fetch(migrated.url(), NAMES)]
    assert present == DATABASE
    assert before.startswith(f"{DATABASE}_before_")
    assert before in said
    assert await fetch(migrated.url(before), "SELECT 1")


def pg_dump(cluster: Cluster, database: str, *arguments: str) -> bytes:
    command = [str(find_binaries() / "bin/pg_dump"), f"--dbname={cluster.url(database)}", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


async def test_a_file_that_is_not_a_whole_dump_of_the_service_is_refused(tmp_path: Path, migrated: Cluster) -> None:
    await fetch(migrated.url(DATABASE), "CREATE TABLE filler AS SELECT md5(i::text) FROM generate_series(1, 20000) i")
    await fetch(migrated.url(), "CREATE DATABASE other")
    await fetch(migrated.url("other"), "CREATE TABLE things (id integer)")
    whole = pg_dump(migrated, DATABASE, "--format=custom")
    text = pg_dump(migrated, DATABASE)
    refused = {
        "is empty": [b""],
        "is not a dump that this pg_restore can read": [
            b"PGDMP no dump", b"PGDMP\x01c" + whole[7:], bytes(99), text, gzip.compress(text), whole[:20], whole[1:],
        ],
        "cannot be read to its end": [whole[:-100], whole[: len(whole) // 2], whole[:-9000] + b"\xff" * 9000],
        "is not a dump of this service": [pg_dump(migrated, "other", "--format=custom")],
    }  # fmt: skip
    for sentence, files in refused.items():
        for number, content in enumerate(files):
            dump = tmp_path / f"{number}.dump"
            dump.write_bytes(content)
            done = script("restore", "check", str(dump), cluster=migrated, backups=tmp_path)
            assert done.returncode == 1, (sentence, number)
            assert sentence in done.stderr.splitlines()[-1], (sentence, number)
    assert "there is no file" in script("restore", "check", "x", cluster=migrated, backups=tmp_path).stderr
    (tmp_path / "whole.dump").write_bytes(whole)
    done = script("restore", "check", str(tmp_path / "whole.dump"), cluster=migrated, backups=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 20_000 * 32 < int(done.stdout) < 2 * len(text)


async def test_a_restore_that_fails_beside_leaves_nothing(tmp_path: Path, migrated: Cluster) -> None:
    """The next restore removes what an interrupted one has left. Before the last step, the database stays the same."""
    await fetch(migrated.url(), f"CREATE DATABASE {DATABASE}_restored_7")
    dump = tmp_path / "cut.dump"
    dump.write_bytes(pg_dump(migrated, DATABASE, "--format=custom")[:-100])
    done = script("restore", "load", str(dump), f"{DATABASE}_restored_8", cluster=migrated, backups=tmp_path)
    assert done.returncode == 1
    assert "was not restored" in done.stderr
    assert [row["datname"] for row in await fetch(migrated.url(), NAMES)] == [DATABASE]


def test_a_failed_dump_is_said_and_leaves_the_earlier_ones(tmp_path: Path, cluster: Cluster) -> None:
    earlier = tmp_path / "tasks-api-2020-01-01T030000Z.dump"
    earlier.touch()
    os.utime(earlier, (0, 0))
    # The remains of a dump that was killed.
    (tmp_path / ".tasks-api-2020-01-02T030000Z.dump.partial").touch()
    cluster.stop()
    done = script("backup", "now", cluster=cluster, backups=tmp_path)
    assert done.returncode == 1
    assert "NO DUMP WAS MADE" in done.stderr
    assert list(tmp_path.glob("*.dump")) == [earlier]

    cluster.start()
    assert script("backup", "now", cluster=cluster, backups=tmp_path).returncode == 0
    # The earlier one is older than BACKUP_KEEP_DAYS, and no longer the only one.
    [dump] = {*tmp_path.iterdir()} - {tmp_path / "dump.prom"}
    assert dump.suffix == ".dump"
    assert dump != earlier


def test_a_dump_that_fails_leaves_no_part_of_itself(tmp_path: Path, migrated: Cluster) -> None:
    """A full disk, a dump that cannot be read again, or a stop of the container leaves no partial file."""
    shims = tmp_path / "shims"
    shims.mkdir()
    backups = tmp_path / "backups"
    backups.mkdir()
    partly = f'for last; do :; done; echo part > "{backups}/$(basename "${{last#--file=}}")"'
    for name, ending in (
        ("pg_dump", "exit 1"),
        ("pg_dump", "kill -TERM $PPID; exec sleep 20"),
        ("pg_restore", "exit 1"),
    ):
        shim = shims / name
        shim.write_text(f"#!/bin/sh\n{partly}\n{ending}\n")
        shim.chmod(0o755)
        done = script("backup", "now", cluster=migrated, backups=backups, shims=shims)
        assert done.returncode != 0
        assert list(backups.iterdir()) == [], (name, ending)
        shim.unlink()


def test_the_check_asks_the_newest_dump(tmp_path: Path, migrated: Cluster) -> None:
    def check() -> str:
        done = script("backup", "check", cluster=migrated, backups=tmp_path)
        assert (done.returncode == 0) == (not done.stderr)
        return done.stderr.strip().splitlines()[-1] if done.stderr else ""

    (tmp_path / "of-somebody-else.dump").write_bytes(b"PGDMP")
    assert check().startswith("backup: there is no dump: make one, docker compose exec backup")
    assert script("backup", "now", cluster=migrated, backups=tmp_path).returncode == 0
    [dump] = tmp_path.glob("tasks-api-*.dump")
    assert check() == ""
    whole = dump.read_bytes()
    # This is a dump of a database that held more.
    before = tmp_path / "tasks-api-2026-01-01T030000Z.dump"
    before.write_bytes(whole + b"x" * (len(whole) + 1))
    assert f"{dump.name} is less than half as large as {before.name}" in check()
    before.unlink()
    dump.write_bytes(b"x" * len(whole))
    assert f"{dump.name}, the newest, is no dump that can be read" in check()
    dump.unlink()
    # The age of a copied dump is that in its name.
    before.write_bytes(whole)
    assert f"{before.name}, is older than 26 hours" in check()
