"""The worker as a process: what happens to jobs that work, fail, hang, block the worker, or kill it."""

import asyncio
import json
import os
import signal
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from groundwork.data import listen
from groundwork.data.connector import connection_target
from groundwork.data.database import Database, Transaction
from groundwork.errors import Unavailable
from groundwork.jobs import worker
from groundwork.jobs.attempt import attempt
from groundwork.jobs.handlers import Job, Jobs
from groundwork.jobs.records import enqueue, job_values
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.tests.core import BOTH_WAYS, database_at, session_count
from groundwork.tests.jobs import example, workers
from groundwork.tests.jobs.statements import CREATE
from groundwork.tests.jobs.workers import add, effects, until, until_empty, working


async def test_a_job_is_done_at_once_and_its_row_is_gone(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    with working(tmp_path, DATABASE_URL=database_url) as worker:
        for name in ("once", "at_least_once"):
            ids = await add(queue, name, 10)
            await until_empty(queue)
            done = await effects(queue)
            assert sorted(done[-10:]) == [(each, 1) for each in ids]
        assert await queue.fetchval("SELECT count(*) FROM jobs") == 0
        assert worker.stop() == 0
    assert not [line for line in worker.lines() if line["level"] not in ("info",)]


@pytest.mark.parametrize("kind", BOTH_WAYS)
async def test_a_change_and_its_job_are_written_together(
    queue: asyncpg.Connection, database_url: str, kind: type[Database]
) -> None:
    current_request.set(CurrentRequest("request-1"))
    async with database_at(database_url, kind=kind) as database:
        await database.execute(CREATE, owner="alice", new_title="a", **job_values({"number": 1}, key="k"))
        [row] = await queue.fetch("SELECT * FROM jobs")
        assert (row["name"], row["user_id"], row["key"], row["request_id"]) == ("once", "alice", "k", "request-1")
        assert json.loads(row["payload"]) == {"number": 1}
        with pytest.raises(asyncpg.PostgresError):
            # With the same id again, neither the task nor the job is added a second time.
            await database.execute(CREATE, owner="alice", new_title="a", **job_values({}))
        assert await queue.fetchval("SELECT count(*) FROM jobs") == 1


async def test_a_job_goes_with_the_transaction_that_adds_it(queue: asyncpg.Connection, database_url: str) -> None:
    async def work(statements: Transaction) -> None:
        await enqueue(statements, "once", {}, owner="alice")
        raise ValueError

    async with database_at(database_url) as database:
        with pytest.raises(ValueError):
            await database.run_in_transaction(work)
        assert await queue.fetchval("SELECT count(*) FROM jobs") == 0
        await enqueue(database, "once", {}, owner="alice")
        assert await queue.fetchval("SELECT user_id FROM jobs") == "alice"


async def test_a_request_adds_no_job_of_nobodys(queue: asyncpg.Connection, database_url: str) -> None:
    async with database_at(database_url) as database:
        await enqueue(database, "once", {}, owner=None)
        current_request.set(CurrentRequest("request-1"))
        with pytest.raises(TypeError, match="asks for no role"):
            await enqueue(database, "once", {}, owner=None)
    assert await queue.fetchval("SELECT count(*) FROM jobs") == 1


@pytest.mark.parametrize(("name", "written"), [("poison", 4), ("poison_in_transaction", 0)])
async def test_poison_fails_for_good_and_stops_no_other(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path, name: str, written: int
) -> None:
    [first] = await add(queue, name)
    others = await add(queue, "once", 20)
    with working(tmp_path, DATABASE_URL=database_url) as worker:
        await until_empty(queue)
    [row] = await queue.fetch("SELECT * FROM jobs")
    assert (row["id"], row["attempts"], row["running_since"]) == (first, 4, None)
    assert row["error"].startswith("ValueError: never ")
    done = await effects(queue)
    assert len([job for job, _ in done if job == first]) == written
    assert sorted(job for job, _ in done if job != first) == others
    [last] = [line for line in worker.lines() if line["level"] == "error"]
    assert (last["job"], last["job_id"]) == (name, first)
    assert "Traceback" in last["traceback"]


@pytest.mark.parametrize(("name", "attempts"), [("hangs", 2), ("hangs_in_transaction", 1)])
async def test_a_job_that_hangs_is_ended(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path, name: str, attempts: int
) -> None:
    await add(queue, name)
    with working(tmp_path, DATABASE_URL=database_url):
        await until_empty(queue)
    [row] = await queue.fetch("SELECT attempts, error FROM jobs")
    assert (row["attempts"], row["error"]) == (attempts, "it took longer than 0.2 s")


async def test_a_worker_whose_loop_is_blocked_ends_with_a_traceback(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    await add(queue, "blocks")
    with working(tmp_path, DATABASE_URL=database_url, BLOCKED_SECONDS="1.5") as worker:
        assert await asyncio.to_thread(worker.process.wait, 30) == 1
    assert "in blocks" in worker.log()


async def test_a_job_that_kills_every_worker_fails_for_good(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    await add(queue, "kills")
    log = tmp_path / "worker.log"
    begun = 0
    while not await queue.fetchval("SELECT count(*) FROM jobs WHERE failed_at IS NOT NULL"):
        # Make the lease of the attempt expire.
        await queue.execute("UPDATE jobs SET run_at = now()")
        worker = workers.Worker(log, "once", DATABASE_URL=database_url)
        begun += await asyncio.to_thread(worker.process.wait, 30) == 9
        assert begun < 10
    assert len(await effects(queue)) == begun == 6
    assert "too many attempts ended without a result" in await queue.fetchval("SELECT error FROM jobs")


async def test_jobs_of_one_key_are_done_in_their_order(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Each job fails once, and several workers could do several jobs at once."""
    keys = ("a", "b", "c")
    expected: dict[str, list[int]] = {key: [] for key in keys}
    for _ in range(5):
        for key in keys:
            expected[key] += await add(queue, "fails_at_first", key=key)
    with working(tmp_path, DATABASE_URL=database_url), working(tmp_path, DATABASE_URL=database_url):
        await until_empty(queue)
    done = [job for job, _ in await effects(queue)]
    for key in keys:
        assert [job for job in done if job in expected[key]] == expected[key]


async def test_a_key_that_fails_holds_back_only_its_own(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    await add(queue, "poison", key="a")
    behind = await add(queue, "once", 2, key="a")
    other = await add(queue, "once", 2, key="b")
    with working(tmp_path, DATABASE_URL=database_url):
        await until_empty(queue)
    done = [job for job, _ in await effects(queue)]
    assert [job for job in done if job in other] == other
    # When it has failed for good, the other jobs with its key go on.
    assert done[-2:] == behind


async def test_a_job_that_no_worker_knows_waits(queue: asyncpg.Connection, database_url: str, tmp_path: Path) -> None:
    await add(queue, "of the next version")
    with working(tmp_path, DATABASE_URL=database_url):
        await add(queue, "once", 5)

        async def done() -> bool:
            return len(await effects(queue)) == 5

        await until(done)
    [row] = await queue.fetch("SELECT name, attempts FROM jobs")
    assert (row["name"], row["attempts"]) == ("of the next version", 0)


async def test_a_job_is_not_begun_before_its_time(queue: asyncpg.Connection, database_url: str, tmp_path: Path) -> None:
    with working(tmp_path, DATABASE_URL=database_url):
        await add(queue, "once")
        await queue.execute("INSERT INTO jobs (name, payload, run_at) VALUES ('once', '{}', now() + interval '2 s')")
        await queue.execute("NOTIFY jobs")
        await until_empty(queue)
        [row] = await queue.fetch("SELECT count(*) AS count, clock_timestamp() AS now FROM effects")
        assert row["count"] == 2


async def test_a_worker_that_ends_lets_its_jobs_finish(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    with working(tmp_path, DATABASE_URL=database_url) as worker:
        [first] = await add(queue, "at_least_once", payload='{"seconds": 1}')

        async def begun() -> bool:
            return bool(await effects(queue))

        await until(begun)
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        await add(queue, "once")
        assert await asyncio.to_thread(worker.process.wait, 30) == 0
    assert await effects(queue) == [(first, 1)]
    assert await queue.fetchval("SELECT count(*) FROM jobs WHERE name = 'once' AND attempts = 0") == 1


@pytest.mark.parametrize("name", ["long", "long_in_transaction"])
async def test_a_worker_that_may_wait_no_longer_gives_its_jobs_back(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path, name: str
) -> None:
    await add(queue, name)
    with working(tmp_path, DATABASE_URL=database_url, GRACEFUL_SHUTDOWN_SECONDS="1") as worker:

        async def begun() -> bool:
            return bool(await queue.fetchval("SELECT count(*) FROM jobs WHERE running_since IS NOT NULL"))

        await until(begun)
        assert worker.stop() == 0
    [row] = await queue.fetch("SELECT attempts, running_since, run_at <= now() AS due FROM jobs")
    assert (row["attempts"], row["running_since"], row["due"]) == (0, None, True)


async def test_lines_name_the_job_and_the_request_that_added_it(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    [id_] = await add(queue, "logs", request_id="request-7", user_id="alice")
    worker = workers.once(tmp_path, DATABASE_URL=database_url)
    named = [line for line in worker.lines() if line.get("job_id") == id_]
    assert [line["message"] for line in named] == ["the job's own line", "job done"]
    assert {(line["job"], line["request_id"]) for line in named} == {("logs", "request-7")}
    # What a job adds belongs to the same request.
    [other] = [line for line in worker.lines() if line.get("job") == "once"]
    assert other["request_id"] == "request-7"


async def test_an_idle_worker_sends_nothing_and_is_woken(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A Neon compute sees no query."""
    activity = (
        "SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid"
    )
    with working(tmp_path, DATABASE_URL=database_url, JOBS_POLL_SECONDS="1"):
        await add(queue, "once")
        await until_empty(queue)
        await asyncio.sleep(0.5)
        before = await queue.fetch(activity)
        await asyncio.sleep(3)
        assert await queue.fetch(activity) == before
        await add(queue, "once")
        await until_empty(queue)
        assert len(await effects(queue)) == 2


async def test_a_worker_whose_connections_are_closed_looks_again_only_after_the_interval(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A Neon compute closes its connections when it stops. To connect at once would start it again."""
    close = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with working(tmp_path, DATABASE_URL=database_url, JOBS_POLL_SECONDS="4") as worker:
        await add(queue, "once")
        await until_empty(queue)
        await asyncio.sleep(0.5)  # until the worker sleeps
        assert await queue.fetchval(close) >= 1
        await asyncio.sleep(2)
        assert await session_count(queue) == 0
        await add(queue, "once")
        await until_empty(queue)
        assert len(await effects(queue)) == 2
        assert worker.process.poll() is None


@pytest.mark.parametrize("name", ["once", "at_least_once"])
async def test_an_attempt_that_another_worker_has_taken_over_ends_nothing(
    queue: asyncpg.Connection, database_url: str, name: str
) -> None:
    [id_] = await add(queue, name)
    await queue.execute("UPDATE jobs SET attempts = 2, running_since = now(), run_at = now() + interval '1 min'")
    [row] = await queue.fetch("SELECT * FROM jobs")
    earlier = row["running_since"] - timedelta(minutes=2)
    values = {**dict(row), "payload": {}, "attempts": 1, "running_since": earlier}
    async with database_at(database_url) as database:
        await asyncio.create_task(attempt(example.jobs.handlers[name], Job(**values), database))
    assert await queue.fetch("SELECT * FROM jobs") == [row]
    # The other worker does again what was not in the transaction.
    assert await effects(queue) == ([] if name == "once" else [(id_, 1)])


def test_a_database_without_the_table_is_told_so(database_url: str, tmp_path: Path) -> None:
    worker = workers.once(tmp_path, DATABASE_URL=database_url)
    [*_, line] = worker.lines()
    assert (worker.process.returncode, line["level"]) == (os.EX_CONFIG, "error")
    assert line["message"].startswith("the table `jobs` cannot be used; migrate it, as groundwork/docs/jobs.md shows: ")
    assert "Traceback" not in worker.log()


def test_a_database_that_is_away_is_said(unused_tcp_port: int, tmp_path: Path) -> None:
    url = f"postgresql://app@127.0.0.1:{unused_tcp_port}/app"
    worker = workers.once(tmp_path, DATABASE_URL=url, DATABASE_WAIT_SECONDS="1")
    assert worker.process.returncode == os.EX_UNAVAILABLE
    assert "Traceback" not in worker.log()


async def test_a_connection_that_cannot_listen_is_closed(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens after a failover to a standby. The worker tries every few seconds, and would use up connections."""

    async def refuse(connection: asyncpg.Connection, **_: object) -> None:
        await connection.execute("LISTEN 1")

    monkeypatch.setattr(listen, "address_kind", refuse)
    async with database_at(database_url) as database:
        for _ in range(3):
            idle = worker.Worker(Jobs(), database, connection_target(database_url), poll_seconds=60)
            with pytest.raises(Unavailable, match="cannot connect"):
                await idle.run(stop_seconds=1, until_empty=True)
    last = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN 1'"

    async def closed() -> bool:
        return not await connection.fetchval(last)

    await until(closed)
