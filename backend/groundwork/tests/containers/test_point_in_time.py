"""deploy/vm with point-in-time recovery, to an S3 server in a container: what a restore brings back, and what not."""

import datetime as dt
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundwork.tests.containers.host import Host
from groundwork.tests.containers.stack import docker, wait_until

PROJECT = "groundwork-point-in-time-test"
STORAGE = f"{PROJECT}-storage"
SERVICE = f"{PROJECT}-service"
# moto's own server, werkzeug, ends TLS in a way that pgBackRest takes for a cut answer.
STORAGE_IMAGE = """
FROM python:3.13-slim
RUN pip install --no-cache-dir 'moto[s3,server]==5.2.5' gunicorn==26.0.0 trustme==1.2.1
WORKDIR /tls
RUN python -m trustme --identities storage
CMD ["gunicorn", "--bind=0.0.0.0:443", "--threads=8", "--keep-alive=60", "--certfile=server.pem", \
     "--keyfile=server.key", "moto.server:create_backend_app('s3')"]
"""
BUCKET = """
import ssl, urllib.request
request = urllib.request.Request("https://localhost/backups", method="PUT")
urllib.request.urlopen(request, context=ssl._create_unverified_context())
"""
SETTINGS = """
HTTP_PORT=18085
HTTPS_PORT=18086
COMPOSE_FILE=compose.yaml:point-in-time.yaml:test.yaml
POINT_IN_TIME_BUCKET=backups
POINT_IN_TIME_ENDPOINT=storage
POINT_IN_TIME_REGION=here
POINT_IN_TIME_KEY=key
POINT_IN_TIME_SECRET=secret
POINT_IN_TIME_PASSPHRASE=passphrase
"""
# The storage signs its own certificate. The limits are lower than on a host, so that the test notices an outage, and
# WAL that is thrown away, sooner.
GLOBAL = "[global]\nrepo1-storage-verify-tls=n\nio-timeout=3\n"
QUEUE = ("archive-push-queue-max=4GiB", "archive-push-queue-max=32MiB")


class RecoverableHost(Host):
    """A host that archives to the storage. The storage outlives the host."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._environment["COMPOSE_PROJECT_NAME"] = PROJECT
        settings = (folder / ".env").read_text().splitlines()
        kept = [line for line in settings if not line.startswith(("HTTP_PORT", "HTTPS_PORT", "IMAGE"))]
        (folder / ".env").write_text("\n".join([*kept, f"IMAGE={SERVICE}"]) + SETTINGS)
        (folder / "test.yaml").write_text(f"networks: {{out: {{name: {STORAGE}, external: true}}}}\n")
        configuration = folder / "point-in-time/pgbackrest.conf"
        text = configuration.read_text().replace(*QUEUE)
        configuration.write_text(text.replace("[global]\n", GLOBAL, 1))

    def up(self) -> None:
        self.compose("up", "--detach", "--wait")

    def restore_to(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("./point-in-time/restore-to", *arguments, check=check)

    def health(self) -> subprocess.CompletedProcess[str]:
        health = ("bash", "/scripts/schedule", "health")
        return self.compose("exec", "--no-TTY", "point-in-time", *health, check=False)

    def backups(self) -> list[Any]:
        information = ("exec", "--no-TTY", "point-in-time", "pgbackrest", "info", "--output=json")
        (stanza,) = json.loads(self.compose(*information).stdout)
        backups: list[Any] = stanza["backup"]
        return backups

    def write(self, title: str) -> None:
        self.sql(f"INSERT INTO tasks (user_id, id, title) VALUES ('alice', gen_random_uuid(), '{title}')")

    def titles(self) -> list[str]:
        return self.sql("SELECT title FROM tasks ORDER BY created_at").splitlines()

    def archive(self) -> None:
        """Archive the WAL now. PostgreSQL itself does it within archive_timeout."""
        switched = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        archived = f"SELECT last_archived_wal >= '{switched}' FROM pg_stat_archiver"
        wait_until(lambda: self.sql(archived) == "t", "the WAL is archived")

    def volumes(self) -> set[str]:
        listed = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
        return {name for name in listed.split() if "database" in name}


@pytest.fixture(scope="module")
def storage() -> Iterator[None]:
    built = subprocess.run(
        ["docker", "build", "--quiet", "--tag", STORAGE, "-"],
        input=STORAGE_IMAGE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode:
        pytest.skip(f"an S3 server cannot be installed here: {built.stderr[-1000:]}")
    remove_storage()
    docker("network", "create", STORAGE)
    try:
        docker("run", "--detach", "--name", STORAGE, "--network", STORAGE, "--network-alias", "storage", STORAGE)
        command = ["docker", "exec", STORAGE, "python", "-c", BUCKET]
        wait_until(lambda: not subprocess.run(command, capture_output=True, check=False).returncode, "a bucket is made")
        yield
    finally:
        remove_storage()


def remove_storage() -> None:
    docker("rm", "--force", "--volumes", STORAGE, check=False)
    docker("network", "rm", STORAGE, check=False)


@pytest.fixture(scope="module")
def host(image: str, storage: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecoverableHost]:
    docker("tag", image, f"{SERVICE}:1")
    host = RecoverableHost(tmp_path_factory.mktemp("host") / "vm")
    host.down()
    remove_volumes(host)
    try:
        host.up()
        wait_until(lambda: bool(host.backups()), "the first backup is made")
        yield host
    finally:
        host.down()
        remove_volumes(host)


def remove_volumes(host: RecoverableHost) -> None:
    for volume in host.volumes():
        docker("volume", "rm", volume)


def test_a_drill_restores_beside_the_running_service(host: RecoverableHost) -> None:
    host.write("Before the drill")
    host.archive()
    before = (host.titles(), host.backups(), host.inspect("db")["State"]["StartedAt"], host.volumes())
    lines = host.compose("run", "--rm", "drill").stdout.splitlines()
    assert "drill: tasks: 1 rows" in lines
    assert "drill: pg_amcheck: every table and index is sound" in lines
    (loss,) = [line for line in lines if line.startswith("drill: RPO ")]
    assert int(loss.split()[2]) < 600
    assert lines[-1].startswith("drill: RTO ")
    assert (host.titles(), host.backups(), host.inspect("db")["State"]["StartedAt"], host.volumes()) == before


def test_a_row_from_seconds_before_the_loss_of_the_host_is_there(host: RecoverableHost) -> None:
    host.write("Seconds before the loss")
    host.archive()
    # The database is killed, because one that is stopped archives the last of its WAL.
    host.compose("kill")
    host.down()
    assert not host.volumes()
    done = host.restore_to("latest")
    assert host.titles() == ["Before the drill", "Seconds before the loss"]
    assert "the database answers after" in done.stdout
    assert host.inspect("backend")["State"]["Health"]["Status"] == "healthy"
    # The restored database is on a timeline of its own, and gets a backup of its own.
    wait_until(lambda: host.backups()[-1]["archive"]["stop"].startswith("00000002"), "a backup follows the restore")


def test_the_database_as_it_was_before_a_mistake(host: RecoverableHost) -> None:
    moment = host.sql("SELECT clock_timestamp()")
    time.sleep(1)
    host.sql("DELETE FROM tasks")
    (old,) = host.volumes()

    refused = host.restore_to(moment, check=False)
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert (host.titles(), host.volumes()) == ([], {old})

    host.restore_to("--replace", moment)
    assert host.titles() == ["Before the drill", "Seconds before the loss"]
    # The restore can be undone.
    assert host.volumes() > {old}


def test_a_time_that_is_not_reached_changes_nothing(host: RecoverableHost) -> None:
    before = (host.titles(), host.volumes(), (host.folder / ".env").read_text())
    # Nothing has been written after this time.
    done = host.restore_to("--replace", str(dt.datetime.now(dt.UTC)), check=False)
    assert done.returncode == 1
    assert "what was there before is in place again" in done.stderr
    assert (host.titles(), host.volumes(), (host.folder / ".env").read_text()) == before
    assert host.inspect("backend")["State"]["Health"]["Status"] == "healthy"


def test_an_outage_of_the_storage_is_told_fills_no_disk_and_is_followed_by_a_backup(host: RecoverableHost) -> None:
    wait_until(lambda: host.health().returncode == 0, "it is healthy")
    before = host.backups()
    docker("network", "disconnect", STORAGE, STORAGE)
    waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    for number in range(4):
        host.write(f"In the outage {number}")
        host.sql("SELECT pg_switch_wal()")
    wait_until(lambda: "WAL is not archived" in host.health().stdout, "the outage is told")
    # 32 MiB of WAL wait. Older WAL is thrown away.
    wait_until(lambda: int(host.sql(waiting)) <= 2, "WAL is thrown away")
    docker("network", "connect", "--alias", "storage", STORAGE, STORAGE)
    host.archive()
    host.compose("restart", "point-in-time")
    wait_until(lambda: len(host.backups()) > len(before), "a backup follows the outage")
    assert host.health().returncode == 0
