"""The probes of an orchestrator: whether the process runs, and whether it can serve."""

from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from alembic.script import ScriptDirectory

from groundwork.data.schema_state import Migrations
from groundwork.http import health
from groundwork.testing.postgres import Server
from groundwork.testing.statements import Sent
from groundwork.tests import BACKEND
from groundwork.tests.http import assert_problem, statements_reported


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
    """Alembic's table exists and is empty: every migration was reverted."""
    await connection.execute("DELETE FROM alembic_version")
    await assert_behind(client)


async def test_not_ready_when_the_code_has_a_newer_migration(
    client: httpx.AsyncClient, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = await connection.fetchval("SELECT version_num FROM alembic_version")
    monkeypatch.setattr(health, "_migrations", lambda: Migrations(frozenset({"newer"}), frozenset({current, "newer"})))
    await assert_behind(client)


async def test_ready_when_the_database_is_newer_than_the_code(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """During a roll-out, the old version still serves after the new version's migrations."""
    await connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    await assert_ready(client)


async def test_becomes_ready_when_the_migrations_have_run(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await connection.execute("ALTER TABLE alembic_version RENAME TO hidden")
    await assert_behind(client)
    await connection.execute("ALTER TABLE hidden RENAME TO alembic_version")
    await assert_ready(client)


async def assert_unfit(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, says: str) -> None:
    response = await client.get("/health/ready")
    problem = assert_problem(response, 503)
    assert problem["detail"] == "The database does not fit this version of the service; the log says what to do."
    assert response.headers["retry-after"] == "1"
    assert says in caplog.text


async def revisions(connection: asyncpg.Connection, *names: str) -> None:
    await connection.execute("DELETE FROM alembic_version")
    await connection.executemany("INSERT INTO alembic_version VALUES ($1)", [[name] for name in names])


class TestTwoBranches:
    """The heads of this version's migrations are `a` and `b`, or `m`, which merges them."""

    @pytest.mark.parametrize(
        ("heads", "known", "at", "is_ready"),
        [
            ("ab", "0ab", "ab", True),
            ("ab", "0ab", "a", False),
            ("ab", "0ab", "0", False),
            ("ab", "0ab", "m", True),
            ("m", "0abm", "ab", False),
            ("m", "0abm", "m", True),
            ("a", "0a", "ab", True),
            ("m", "0abm", "mx", True),
        ],
    )
    async def test_each_state_of_the_database(
        self,
        client: httpx.AsyncClient,
        connection: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
        heads: str,
        known: str,
        at: str,
        *,
        is_ready: bool,
    ) -> None:
        monkeypatch.setattr(health, "_migrations", lambda: Migrations(frozenset(heads), frozenset(known)))
        await revisions(connection, *at)
        await (assert_ready if is_ready else assert_behind)(client)

    async def test_one_that_is_behind_in_one_branch_and_ahead_in_another(
        self,
        client: httpx.AsyncClient,
        connection: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(health, "_migrations", lambda: Migrations(frozenset("a"), frozenset("0a")))
        await revisions(connection, "0", "x")
        await assert_unfit(client, caplog, "is at revision x, which this version does not know, and is behind at 0")


CURRENT = Migrations.of(ScriptDirectory(str(BACKEND / "migrations"))).heads
UNKNOWN = "this version does not know, and lacks "


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ("DROP TABLE idempotency_keys", "idempotency_keys.*: it is another service's"),
        ("ALTER TABLE idempotency_keys DROP COLUMN answer", "idempotency_keys.answer: it is another service's"),
        ("DROP TABLE idempotency_keys, tasks CASCADE", "idempotency_keys.*, tasks.*: it is another service's"),
    ],
)
@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"sibling"}, f"is at revision sibling, which {UNKNOWN}"),
        ({"sibling", "other"}, f"is at revision other, sibling, which {UNKNOWN}"),
        ({"sibling", *CURRENT}, f"is at revision sibling, which {UNKNOWN}"),
        # Another copy of the template has the same first revisions.
        (CURRENT, f"is at revision {', '.join(CURRENT)} and lacks "),
    ],
    ids=["unknown", "two unknown", "known and unknown", "known"],
)
async def test_a_database_without_what_this_version_needs_is_not_ready(
    client: httpx.AsyncClient,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    names: Collection[str],
    says: str,
    change: str,
    lacks: str,
) -> None:
    await revisions(connection, *names)
    await assert_ready(client)
    await connection.execute(change)
    await assert_unfit(client, caplog, f"{says}{lacks}")


async def test_one_that_is_behind_and_lacks_a_column_is_told_both(
    client: httpx.AsyncClient,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(health, "_migrations", lambda: Migrations(frozenset("a"), frozenset("0a")))
    await revisions(connection, "0", "x")
    await connection.execute("ALTER TABLE idempotency_keys DROP COLUMN answer")
    await assert_unfit(client, caplog, "and is behind at 0 and lacks idempotency_keys.answer:")


async def test_it_asks_once(client: httpx.AsyncClient, sent_statements: list[Sent]) -> None:
    await assert_ready(client)
    await statements_reported()
    sent_statements.clear()
    await assert_ready(client)
    await statements_reported()
    assert len(sent_statements) == 1


class TestRoleThatMayNotLook:
    @pytest.fixture
    def service_url(self, database_url: str, role: str) -> str:
        return database_url.replace(urlsplit(database_url).netloc.partition("@")[0], f"{role}:secret", 1)

    @pytest.fixture
    async def role(self, connection: asyncpg.Connection) -> AsyncIterator[str]:
        await connection.execute("CREATE ROLE blind LOGIN PASSWORD 'secret'")
        yield "blind"
        await connection.execute("DROP OWNED BY blind; DROP ROLE blind")

    async def test_is_not_ready(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        await assert_unfit(client, caplog, "GRANT SELECT ON alembic_version TO the role of DATABASE_URL")
        await connection.execute("GRANT SELECT ON alembic_version TO blind")
        await assert_ready(client)


class TestOtherEncodings:
    @pytest.fixture(params=["LATIN1", "SQL_ASCII"])
    def database_url(self, request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[str]:
        postgres_server.create_encoded_database("other", request.param)
        postgres_server.execute("CREATE TABLE alembic_version (version_num varchar(32))", "other")
        yield postgres_server.url("other")
        postgres_server.drop_database("other")

    async def test_are_not_ready(self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
        await assert_unfit(client, caplog, "which cannot hold every text: make one with CREATE DATABASE")


async def test_a_service_without_its_migrations_is_not_ready_and_says_where_they_should_be(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    health._migrations.cache_clear()
    monkeypatch.setattr(health, "_MIGRATIONS", tmp_path / "migrations")
    problem = assert_problem(await client.get("/health/ready"), 503)
    assert str(tmp_path) not in problem["detail"]
    assert f"there is no folder {tmp_path / 'migrations'}: start the service in the folder" in caplog.text
