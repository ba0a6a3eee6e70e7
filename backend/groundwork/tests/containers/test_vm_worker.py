"""deploy/vm with background jobs: a roll-out replaces the worker too, and one that fails leaves the old worker."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from groundwork.tests.containers.host import IMAGE, Host
from groundwork.tests.containers.stack import docker, wait_until
from groundwork.tests.containers.test_vm_interrupted import Moment, kill, named
from groundwork.tests.jobs.tables import table_of_jobs

# The old worker does this job while the roll-out watches the new one for 10 s. So the job ends about 14 s after the
# signal to stop: Docker by itself would wait 10 s, and the worker waits 25 s.
JOB_SECONDS = 24
JOBS = f"""
import asyncio

from groundwork.jobs.handlers import Jobs

jobs = Jobs()


@jobs.job("slow")
async def slow(job, database):
    await asyncio.sleep({JOB_SECONDS})
"""


class Worker(NamedTuple):
    id: str
    version: str
    state: str


@pytest.fixture(scope="module")
def working(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The host with the worker switched on. The versions `first` and `second` have jobs; the others have none."""
    for version in ("first", "second"):
        folder = tmp_path_factory.mktemp(version)
        (folder / "jobs.py").write_text(JOBS)
        (folder / "Dockerfile").write_text(f"FROM {IMAGE}:1\nCOPY --chmod=644 jobs.py app/\n")
        docker("build", "--quiet", "--tag", f"{IMAGE}:{version}", str(folder))
    for statement in table_of_jobs():
        host.sql(statement)
    settings = host.folder / ".env"
    switch = "COMPOSE_PROFILES=worker\n"
    settings.write_text(settings.read_text() + switch)
    try:
        yield host
    finally:
        settings.write_text(settings.read_text().replace(switch, ""))
        host.compose("rm", "--stop", "--force", "worker")
        host.roll_out("1")
        host.sql("DROP TABLE jobs")


def workers(host: Host) -> list[Worker]:
    identifiers = host.compose("ps", "--all", "--quiet", "worker").stdout.split()
    containers = json.loads(docker("inspect", *identifiers)) if identifiers else []
    return [
        Worker(each["Id"], each["Config"]["Image"].rpartition(":")[2], each["State"]["Status"]) for each in containers
    ]


def test_a_roll_out_starts_the_new_worker_and_lets_the_old_one_end_its_job(working: Host) -> None:
    assert not workers(working)
    working.roll_out("first")
    [old] = workers(working)
    assert old[1:] == ("first", "running")

    since = time.time()
    with ThreadPoolExecutor() as pool:
        rolled_out = pool.submit(working.roll_out, "second")
        wait_until(lambda: len(workers(working)) == 2, "the new worker starts beside the old one")
        # The new one cannot take it yet, because it is still starting.
        working.sql("INSERT INTO jobs (name, payload) VALUES ('slow', '{}')")
        working.sql("NOTIFY jobs")
    rolled_out.result()
    events = working.events(f"{since:.3f}", f"{time.time():.3f}")
    assert events[-3:] == ["die next 0", "start worker", "die worker 0"]
    [new] = workers(working)
    assert new[1:] == ("second", "running")
    assert new.id != old.id
    # The old worker has done the job to its end. A job that was left would still have a row.
    assert working.sql("SELECT count(*) FROM jobs") == "0"


@pytest.mark.parametrize(
    ("version", "reason", "served"),
    [
        ("none", "There is no image", "second"),
        ("3", "The migration has not succeeded", "second"),
        # It has no app/jobs.py.
        ("2", "its worker does not stay up", "2"),
    ],
)
def test_a_failed_roll_out_leaves_the_old_worker(working: Host, version: str, reason: str, served: str) -> None:
    before = workers(working)
    assert [each[1:] for each in before] == [("second", "running")]
    done = working.roll_out(version, check=False)
    assert done.returncode == 1
    assert reason in done.stderr.splitlines()[-1]
    assert workers(working) == before
    assert named(working) == served
    assert working.is_ready()


def test_it_goes_with_the_stack_and_with_a_restore(working: Host) -> None:
    working.roll_out("first")
    # With a container that has no health check, --wait would fail.
    working.up()
    working.compose("exec", "--no-TTY", "backup", "bash", "/scripts/backup", "now")
    done = working.restore("--replace", working.dumps()[-1].name)
    assert "is in place" in done.stdout
    assert [each[1:] for each in workers(working)] == [("first", "running")]


@pytest.mark.parametrize(
    ("moment", "version", "afterwards"),
    [
        (Moment("--scale worker", "create", "worker"), "second", "up"),
        (Moment("--scale worker", "start", "worker"), "first", "again"),
        # The new worker has stayed up, and the old one still runs.
        (Moment("stop "), "second", "up"),
    ],
    ids=["created", "started", "stayed up"],
)
def test_a_roll_out_that_was_killed_leaves_a_worker_and_then_ends_with_one(
    working: Host, tmp_path: Path, moment: Moment, version: str, afterwards: str
) -> None:
    kill(working, tmp_path, moment, "./roll-out", version)
    assert "running" in [each.state for each in workers(working)]
    if afterwards == "up":
        working.up()
    else:
        working.roll_out(version)
    assert [each[1:] for each in workers(working)] == [(version, "running")]
    assert named(working) == version
