"""`python worker.py failed`, `retry` and `drop`, the messages to operators, the metrics, and the erasure of a user."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from groundwork.jobs.records import enqueue, job_values
from groundwork.tests.core import database_at
from groundwork.tests.jobs.statements import CREATE
from groundwork.tests.jobs.workers import Worker, add, effects, until, until_empty, working
from groundwork.tests.pooler import Pooler
from groundwork.tests.process import server


def command(folder: Path, *arguments: str, **variables: str) -> Worker:
    worker = Worker(folder / f"command-{os.urandom(4).hex()}.log", *arguments, **variables)
    worker.process.wait(60)
    return worker


@pytest.fixture
async def failed(queue: asyncpg.Connection) -> list[int]:
    """The ids of three jobs that have failed for good. A fourth job waits."""
    ids = await add(
        queue, "fails_at_first", 3, user_id="alice", request_id="request-1", payload='{"times": 9, "e": "ü"}'
    )
    await queue.execute("UPDATE jobs SET failed_at = now(), attempts = 4, error = 'ValueError: not yet'")
    await queue.execute("INSERT INTO jobs (name, payload, run_at) VALUES ('once', '{}', 'infinity')")
    return ids


async def test_what_has_failed_is_listed(failed: list[int], database_url: str, tmp_path: Path) -> None:
    listed = command(tmp_path, "failed", DATABASE_URL=database_url)
    assert listed.process.returncode == 0
    lines = [json.loads(line) for line in listed.log().splitlines()]
    assert [line["id"] for line in lines] == failed
    assert {(line["user_id"], line["request_id"], line["error"], line["attempts"]) for line in lines} == {
        ("alice", "request-1", "ValueError: not yet", 4)
    }
    assert lines[0]["payload"] == {"times": 9, "e": "ü"}


@pytest.mark.parametrize("which", ["one", "all"])
async def test_what_has_failed_is_tried_again(
    queue: asyncpg.Connection, failed: list[int], database_url: str, tmp_path: Path, which: str
) -> None:
    await queue.execute("UPDATE jobs SET payload = '{\"times\": 0}'")
    retried = failed if which == "all" else failed[1:2]
    with working(tmp_path, DATABASE_URL=database_url):
        done = command(tmp_path, "retry", "all" if which == "all" else str(failed[1]), DATABASE_URL=database_url)
        assert (done.process.returncode, done.lines()[0]["jobs"]) == (0, len(retried))

        async def again() -> bool:
            return sorted(await effects(queue)) == [(each, 1) for each in retried]

        await until(again)
    assert await queue.fetchval("SELECT count(*) FROM jobs") == 4 - len(retried)


@pytest.mark.parametrize("which", ["one", "all", "waiting"])
async def test_what_has_failed_is_dropped_and_nothing_else(
    queue: asyncpg.Connection, failed: list[int], database_url: str, tmp_path: Path, which: str
) -> None:
    id_, dropped = {"one": (failed[0], 1), "all": ("all", 3), "waiting": (failed[-1] + 1, 0)}[which]
    done = command(tmp_path, "drop", str(id_), DATABASE_URL=database_url)
    assert (done.process.returncode, done.lines()[0]["jobs"]) == (0, dropped)
    assert await queue.fetchval("SELECT count(*) FROM jobs") == 4 - dropped


@pytest.mark.parametrize(
    "arguments", [["retry"], ["drop", "x"], ["drop", "٣"], ["list"], ["failed", "all"], ["once", "1"]]
)
def test_what_is_wrong_with_a_command_is_said(arguments: list[str], database_url: str, tmp_path: Path) -> None:
    done = command(tmp_path, *arguments, DATABASE_URL=database_url)
    assert done.process.returncode == os.EX_USAGE
    assert done.log().startswith("Say what to do: python worker.py")
    assert done.log().count("\n") == 1


def test_a_service_without_jobs_is_told_what_is_missing(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=server.BACKEND,
        env=server.environment(DATABASE_URL=database_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == os.EX_CONFIG
    assert done.stderr == "app/jobs.py is missing: write it, as groundwork/docs/jobs.md shows\n"


@pytest.mark.usefixtures("queue")
def test_a_pooler_between_is_refused(database_url: str, pooler: Pooler, tmp_path: Path) -> None:
    """Nothing would tell the worker of new jobs."""
    done = command(tmp_path, DATABASE_URL=pooler.url(database_url))
    assert done.process.returncode == os.EX_CONFIG
    assert "DATABASE_DIRECT_URL: must lead to PostgreSQL itself" in done.log()
    assert "Traceback" not in done.log()


@pytest.mark.parametrize("kind", ["pooler", "tracking_pooler"])
async def test_jobs_are_added_and_done_through_a_pooler(
    queue: asyncpg.Connection, database_url: str, request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    pooler: Pooler = request.getfixturevalue(kind)
    with working(tmp_path, DATABASE_URL=pooler.url(database_url), DATABASE_DIRECT_URL=database_url):
        await add(queue, "once", 5)
        await add(queue, "at_least_once", 5)
        async with database_at(pooler.url(database_url)) as database:
            await database.execute(CREATE, owner="alice", new_title="a", **job_values({}))
            await enqueue(database, "once", {}, owner="alice")
        await until_empty(queue)
    assert len(await effects(queue)) == 12


async def test_metrics_tell_of_the_queue_and_of_the_runs(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    port = server.free_port()
    await add(queue, "poison", 2)
    await add(queue, "once", 3)
    await queue.execute("INSERT INTO jobs (name, payload, run_at) VALUES ('unknown', '{}', now() - interval '1 hour')")

    async def has(name: str) -> float:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0

    with working(tmp_path, DATABASE_URL=database_url, METRICS_PORT=str(port)):

        async def counted() -> bool:
            return await has('jobs{state="failed"}') == 2

        await until(counted)
        assert await has('jobs{state="waiting"}') == 1
        assert await has('jobs{state="running"}') == 0
        assert await has("jobs_oldest_seconds") >= 3600
        assert await has('job_run_seconds_count{job="once",outcome="done"}') == 3
        assert await has('job_run_seconds_count{job="poison",outcome="failed"}') == 6
        assert await has('job_run_seconds_count{job="poison",outcome="failed for good"}') == 2
        assert await has("database_pool_size") == 4


_USER_DATA = """
import sys, user_data, groundwork.jobs.records
from groundwork.serve.user_data import main
main(sys.argv[1:])
"""


def user_data(*arguments: str, **variables: str) -> str:
    """`python user_data.py` in a service that has jobs."""
    done = subprocess.run(
        [sys.executable, "-c", _USER_DATA, *arguments],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


async def test_the_jobs_of_a_user_go_with_the_user(queue: asyncpg.Connection, database_url: str) -> None:
    await add(queue, "once", 2, user_id="alice")
    await add(queue, "once", 3, user_id="bob")
    await add(queue, "once")
    exported = user_data("export", "alice", DATABASE_URL=database_url)
    assert [json.loads(line)["row"]["user_id"] for line in exported.splitlines()] == ["alice", "alice"]
    user_data("erase", "alice", DATABASE_URL=database_url)
    found = await queue.fetch("SELECT user_id, count(*) AS count FROM jobs GROUP BY user_id")
    assert {row["user_id"]: row["count"] for row in found} == {"bob": 3, None: 1}
