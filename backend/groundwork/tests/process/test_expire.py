"""`python expire.py` removes the expired keys of users who do not come back."""

import json
import os
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from groundwork.tests.core import set_default
from groundwork.tests.process import server

KEPT = "SELECT key FROM idempotency_keys ORDER BY key"


def expire(**variables: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command. Returns the exit code and the lines of the log."""
    done = subprocess.run(
        [sys.executable, "expire.py"],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()]


async def keep(connection: asyncpg.Connection, age: str, keys: str) -> None:
    """Store keys of many users with this age. `keys` is SQL for the names of the keys."""
    await connection.execute(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint, answer, created_at)"
        f" SELECT 'user ' || key, key, '', '', now() - interval '{age}' FROM ({keys}) AS _ (key)"
    )


async def kept(connection: asyncpg.Connection) -> list[str]:
    return [row["key"] for row in await connection.fetch(KEPT)]


async def test_what_has_expired_is_removed_whosever_it_is(connection: asyncpg.Connection, database_url: str) -> None:
    await keep(connection, "24 hours 1 minute", "SELECT n::text FROM generate_series(1, 10001) AS n")
    await keep(connection, "23 hours 59 minutes", "VALUES ('yesterday'), ('of yesterday too')")
    code, [line] = expire(DATABASE_URL=database_url)
    assert (code, line["level"], line["count"]) == (0, "info", 10_001)
    assert await kept(connection) == ["of yesterday too", "yesterday"]
    code, [line] = expire(DATABASE_URL=database_url)
    assert (code, line["count"]) == (0, 0)


async def test_a_key_that_is_in_use_is_left_for_the_next_time(
    connection: asyncpg.Connection, database_url: str
) -> None:
    await keep(connection, "25 hours", "VALUES ('free'), ('in use')")
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM idempotency_keys WHERE key = 'in use' FOR UPDATE")
        code, [line] = expire(DATABASE_URL=database_url)
    assert (code, line["count"]) == (0, 1)
    assert await kept(connection) == ["in use"]


async def test_a_roles_stricter_isolation_does_not_matter(connection: asyncpg.Connection, database_url: str) -> None:
    """Under a stricter level, a key that is used again at the same time would end the clean-up with 40001."""
    await set_default(connection, "default_transaction_isolation", "repeatable read")
    await connection.execute("""
        CREATE TABLE levels (level text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO levels VALUES (current_setting('transaction_isolation')); RETURN OLD;
        END $$;
        CREATE TRIGGER note BEFORE DELETE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION note();
    """)
    await keep(connection, "25 hours", "VALUES ('first')")
    code, [line] = expire(DATABASE_URL=database_url)
    assert (code, line["count"]) == (0, 1)
    assert await connection.fetchval("SELECT level FROM levels") == "read committed"


def test_it_goes_past_the_pooler(database_url: str) -> None:
    code, [line] = expire(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", DATABASE_DIRECT_URL=database_url)
    assert (code, line["count"]) == (0, 0)


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_DIRECT_URL"])
def test_a_database_that_is_away_is_named(database_url: str, name: str) -> None:
    code, [line] = expire(**{"DATABASE_URL": database_url, name: "postgresql://nobody@127.0.0.1:1/none"})
    assert (code, line["level"]) == (os.EX_UNAVAILABLE, "error")
    assert line["message"].startswith(f"the database of {name} cannot be reached: ")


async def test_a_database_without_the_table_is_told_so(connection: asyncpg.Connection, database_url: str) -> None:
    await connection.execute("ALTER TABLE idempotency_keys RENAME TO moved")
    code, [line] = expire(DATABASE_URL=database_url)
    assert (code, line["level"]) == (os.EX_SOFTWARE, "error")
    assert "the keys cannot be removed" in line["message"]
    assert "Traceback" not in str(line)
