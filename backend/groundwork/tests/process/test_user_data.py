"""`python user_data.py`: everything of one user, printed or erased."""

import json
import os
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from groundwork.tests.process import server

TASK = """
    INSERT INTO tasks (user_id, id, title)
    SELECT $1::text, gen_random_uuid(), left($1::text, 100) || n FROM generate_series(1, $2::int) AS n
"""
KEY = "INSERT INTO idempotency_keys (user_id, key, fingerprint, answer) VALUES ($1, 'k', '\\x00ff', '{\"a\": 1}')"


def user_data(*arguments: str, output: int = subprocess.PIPE, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "user_data.py", *arguments],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def read(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


USERS = ["alice", "Alice", "a li'ce \"ü€🎈\\"]


@pytest.fixture
async def rows(connection: asyncpg.Connection) -> None:
    for user in USERS:
        await connection.execute(TASK, user, 3)
        await connection.execute(KEY, user)


async def counts(connection: asyncpg.Connection) -> dict[str, int]:
    found = await connection.fetch(
        "SELECT user_id, count(*) AS count FROM"
        " (SELECT user_id FROM tasks UNION ALL SELECT user_id FROM idempotency_keys) AS _ GROUP BY user_id"
    )
    return {row["user_id"]: row["count"] for row in found}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("user", USERS)
async def test_an_export_is_one_users_and_changes_nothing(
    connection: asyncpg.Connection, database_url: str, user: str
) -> None:
    lines = read(user_data("export", user, DATABASE_URL=database_url))
    assert sorted(line["table"] for line in lines) == ["idempotency_keys", *["tasks"] * 3]
    assert {line["row"]["user_id"] for line in lines} == {user}
    assert {line["row"]["title"] for line in lines if line["table"] == "tasks"} == {f"{user}{n}" for n in (1, 2, 3)}
    assert await counts(connection) == dict.fromkeys(USERS, 4)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("user", USERS)
async def test_an_erasure_leaves_only_the_others(connection: asyncpg.Connection, database_url: str, user: str) -> None:
    done = user_data("erase", user, DATABASE_URL=database_url)
    assert done.returncode == 0
    assert json.loads(done.stderr)["rows"] == {"tasks": 3, "idempotency_keys": 1}
    assert await counts(connection) == dict.fromkeys([each for each in USERS if each != user], 4)
    assert read(user_data("export", user, DATABASE_URL=database_url)) == []


@pytest.mark.usefixtures("rows")
async def test_an_erasure_that_cannot_be_whole_erases_nothing(
    connection: asyncpg.Connection, database_url: str
) -> None:
    await connection.execute("""
        CREATE TABLE notes (user_id text, task uuid, FOREIGN KEY (user_id, task) REFERENCES tasks);
        INSERT INTO notes SELECT user_id, id FROM tasks WHERE user_id = 'alice' LIMIT 1;
    """)
    done = user_data("erase", "alice", DATABASE_URL=database_url)
    assert done.returncode == os.EX_SOFTWARE
    line = json.loads(done.stderr)
    assert line["message"].startswith("nothing was changed; run it again when this is mended: ")
    assert "notes" in line["message"]
    assert await counts(connection) == dict.fromkeys(USERS, 4)


@pytest.mark.parametrize("count", [1, 1_000])
async def test_an_export_that_cannot_be_written_says_so(
    connection: asyncpg.Connection, database_url: str, count: int
) -> None:
    """As on a full disk. It is not the database that is away."""
    await connection.execute(TASK, "alice", count)
    reader, writer = os.pipe()
    os.close(reader)
    done = user_data("export", "alice", DATABASE_URL=database_url, output=writer)
    os.close(writer)
    assert done.returncode != 0
    line = json.loads(done.stderr.splitlines()[0])
    assert line["message"].startswith("the export cannot be written, and is not whole: ")


def peak_memory(user: str, **variables: str) -> tuple[int, int]:
    """How many rows an export prints, and the largest size of its process."""
    code = (
        "import resource, sys, user_data; from groundwork.serve.user_data import main;"
        f" main(['export', {user!r}]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.count("\n"), int(done.stderr)


async def test_an_export_holds_few_rows_in_memory(connection: asyncpg.Connection, database_url: str) -> None:
    peaks = []
    for count in (1_000, 100_000):
        await connection.execute(TASK, str(count), count)
        printed, peak = peak_memory(str(count), DATABASE_URL=database_url)
        assert printed == count
        peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("arguments", [[], ["export"], ["erase", ""], ["delete", "alice"], ["erase", "alice", "bob"]])
def test_what_is_missing_is_said(arguments: list[str]) -> None:
    done = user_data(*arguments)
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert done.stderr.startswith("Say what to do, and for whom: python user_data.py export USER")
    assert done.stderr.count("\n") == 1


def test_a_database_that_is_away_is_said(unused_tcp_port: int) -> None:
    done = user_data("erase", "alice", DATABASE_URL=f"postgresql://app@127.0.0.1:{unused_tcp_port}/app")
    assert done.returncode == os.EX_UNAVAILABLE
    assert "DATABASE_URL cannot be reached" in json.loads(done.stderr)["message"]
