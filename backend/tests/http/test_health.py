"""What an orchestrator asks: does the process run, and can it serve?"""

from collections.abc import Iterator

import asyncpg
import httpx
import pytest

from app.core import health
from tests.http import assert_problem, statements_reported
from tests.postgres import Server
from tests.statements import Sent


async def assert_ready(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def assert_behind(client: httpx.AsyncClient) -> None:
    response = await client.get("/health/ready")
    problem = assert_problem(response, 503)
    assert problem["detail"] == "The database is behind the code: run the migrations."
    assert response.headers["retry-after"] == "1"


async def test_live_asks_nobody(client: httpx.AsyncClient, sent_statements: list[Sent]) -> None:
    response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    await statements_reported()
    assert sent_statements == []


async def test_ready_when_migrated(client: httpx.AsyncClient) -> None:
    await assert_ready(client)


class TestEmptyDatabase:
    @pytest.fixture
    def database_url(self, postgres_server: Server) -> Iterator[str]:
        postgres_server.create_database("not_migrated")
        yield postgres_server.url("not_migrated")
        postgres_server.drop_database("not_migrated")

    async def test_is_not_ready(self, client: httpx.AsyncClient) -> None:
        await assert_behind(client)


async def test_not_ready_before_the_first_migration(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    """Alembic's table is there, and empty: every migration was taken back."""
    await connection.execute("DELETE FROM alembic_version")
    await assert_behind(client)


async def test_not_ready_when_the_code_has_a_newer_migration(
    client: httpx.AsyncClient, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = await connection.fetchval("SELECT version_num FROM alembic_version")
    monkeypatch.setattr(health, "_migrations", lambda: ("newer", frozenset({current, "newer"})))
    await assert_behind(client)


async def test_ready_when_the_database_is_newer_than_the_code(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """During a roll-out the old version serves on after the new one's migrations."""
    await connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    await assert_ready(client)


async def test_becomes_ready_when_the_migrations_have_run(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await connection.execute("ALTER TABLE alembic_version RENAME TO hidden")
    await assert_behind(client)
    await connection.execute("ALTER TABLE hidden RENAME TO alembic_version")
    await assert_ready(client)
