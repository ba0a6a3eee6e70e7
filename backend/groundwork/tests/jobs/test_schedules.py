"""Jobs with a schedule."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from groundwork.jobs.handlers import Jobs, parse_schedule
from groundwork.tests.jobs import workers
from groundwork.tests.jobs.example import at_least_once
from groundwork.tests.jobs.workers import until, working

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
"""A Saturday."""
NIGHTLY = "every day at 03:00 UTC"


@pytest.mark.parametrize(
    ("line", "moment", "following"),
    [
        (NIGHTLY, NOW - timedelta(seconds=1), NOW),
        (NIGHTLY, NOW, NOW + timedelta(days=1)),
        ("every day at 00:00 UTC", NOW, datetime(2026, 11, 29, tzinfo=UTC)),
        ("every day at 23:59 UTC", NOW, datetime(2026, 11, 28, 23, 59, tzinfo=UTC)),
        ("every saturday at 03:00 UTC", NOW - timedelta(seconds=1), NOW),
        ("every saturday at 03:00 UTC", NOW, NOW + timedelta(days=7)),
        ("every monday at 03:00 UTC", NOW, NOW + timedelta(days=2)),
        ("every sunday at 03:00 UTC", NOW, NOW + timedelta(days=1)),
    ],
)
def test_the_next_time(line: str, moment: datetime, following: datetime) -> None:
    assert parse_schedule(line).after(moment) == following


@pytest.mark.parametrize(
    "line", ["", "daily", "every day at 3:00 UTC", "every day at 24:00 UTC", f"{NIGHTLY} ", "0 3 * * *"]
)
def test_a_line_that_cannot_be_read_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="write `every day at 03:00 UTC`"):
        Jobs().job("a", every=line)


def test_what_is_no_text_is_refused_as_well() -> None:
    with pytest.raises(ValueError, match="write `every day at 03:00 UTC`"):
        Jobs().job("a", every=timedelta(days=1))  # type: ignore[arg-type]


def test_a_name_is_taken_once() -> None:
    jobs = Jobs()
    jobs.job("a")
    jobs.job("a")(at_least_once)
    with pytest.raises(ValueError, match="already"):
        jobs.job("a")


async def rows(queue: asyncpg.Connection) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await queue.fetch("SELECT * FROM jobs WHERE schedule IS NOT NULL")
    return found


async def come(queue: asyncpg.Connection) -> None:
    """Let the time of the nightly job come."""
    await queue.execute("UPDATE jobs SET run_at = now() WHERE schedule IS NOT NULL")
    await queue.execute("NOTIFY jobs")


async def test_several_workers_do_it_once_each_time(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": database_url, "EVERY": NIGHTLY}
    with working(tmp_path, **variables), working(tmp_path, **variables), working(tmp_path, **variables):
        for count in range(1, 4):

            async def scheduled() -> bool:
                found = await rows(queue)
                return [(row["attempts"], row["run_at"] > datetime.now(UTC)) for row in found] == [(0, True)]

            await until(scheduled)
            [row] = await rows(queue)
            assert (row["run_at"].hour, row["run_at"].minute, row["user_id"]) == (3, 0, None)
            await come(queue)
            await until(scheduled)
            await asyncio.sleep(0.2)
            assert await queue.fetchval("SELECT count(*) FROM effects WHERE name = 'nightly'") == count


async def test_a_night_that_fails_leaves_the_next_one(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    variables = {"DATABASE_URL": database_url, "EVERY": NIGHTLY, "NIGHTLY_FAILS": "1"}
    workers.once(tmp_path, **variables)
    await come(queue)
    workers.once(tmp_path, **variables)
    [row] = await rows(queue)
    assert (row["attempts"], row["failed_at"], row["run_at"] > datetime.now(UTC)) == (0, None, True)
    assert await queue.fetchval("SELECT error FROM jobs WHERE failed_at IS NOT NULL") == "ValueError: not tonight"


async def test_a_release_may_change_the_time_but_skips_none(
    queue: asyncpg.Connection, database_url: str, tmp_path: Path
) -> None:
    workers.once(tmp_path, DATABASE_URL=database_url, EVERY=NIGHTLY)
    workers.once(tmp_path, DATABASE_URL=database_url, EVERY="every day at 05:30 UTC")
    [row] = await rows(queue)
    assert (row["run_at"].hour, row["run_at"].minute) == (5, 30)
    # It became due while no worker ran.
    await come(queue)
    workers.once(tmp_path, DATABASE_URL=database_url, EVERY=NIGHTLY)
    assert await queue.fetchval("SELECT count(*) FROM effects WHERE name = 'nightly'") == 1
