"""`DATABASE_URL` as providers print it, and the asyncpg connections that are opened for it."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import create_model
from sqlalchemy import Column, Integer, MetaData, Table, bindparam, func, select

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.data.dsn import Host
from groundwork.data.known_tables import public
from groundwork.data.prepared_statements import NamingConnection, TrackedConnection
from groundwork.data.statement import Statement
from groundwork.data.target import ConnectionTarget
from groundwork.tests.core import database_at, eventually


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide libpq's variables and files, because they would fill in what the URL leaves out."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


NEON = (
    "postgresql://alice:secret@ep-cool-darkness-123456.us-east-2.aws.neon.tech/neondb?sslmode=require"
    "&channel_binding=require"
)
NEON_POOLED = NEON.replace(".us-east-2", "-pooler.us-east-2")
SUPABASE = "postgresql://postgres:secret@db.abcdefgh.supabase.co:5432/postgres"
SUPABASE_POOLED = (
    "postgres://postgres.abcdefgh:secret@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true"
)
RAILWAY = "postgresql://postgres:secret@containers-us-west-1.railway.app:7432/railway"
HEROKU = "postgres://user:secret@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8r82722r2kuvn"
RENDER = "postgresql://user:secret@dpg-abc-a.oregon-postgres.render.com/app"
PGBOUNCER = "postgresql://user:secret@pgbouncer.internal:6432/app"


@pytest.mark.parametrize(
    ("url", "name", "port", "user", "database"),
    [
        (NEON, "ep-cool-darkness-123456.us-east-2.aws.neon.tech", 5432, "alice", "neondb"),
        (NEON_POOLED, "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech", 5432, "alice", "neondb"),
        (SUPABASE, "db.abcdefgh.supabase.co", 5432, "postgres", "postgres"),
        (SUPABASE_POOLED, "aws-0-eu-central-1.pooler.supabase.com", 6543, "postgres.abcdefgh", "postgres"),
        (RAILWAY, "containers-us-west-1.railway.app", 7432, "postgres", "railway"),
        (HEROKU, "ec2-1-2-3-4.compute-1.amazonaws.com", 5432, "user", "d8r82722r2kuvn"),
        (RENDER, "dpg-abc-a.oregon-postgres.render.com", 5432, "user", "app"),
        (PGBOUNCER, "pgbouncer.internal", 6432, "user", "app"),
        ("postgresql+asyncpg://user:secret@db/app", "db", 5432, "user", "app"),
        ("postgresql://user:secret@/app?host=/var/run/pg", "/var/run/pg", 5432, "user", "app"),
    ],
)
def test_urls_are_read_as_providers_print_them(url: str, name: str, port: int, user: str, database: str) -> None:
    target = connection_target(url)
    assert target.hosts == [Host(name, name, port)]
    assert (target.user, target.password, target.database) == (user, "secret", database)
    assert target.sslmode == ("require" if "neon" in url else "prefer")


@pytest.mark.parametrize("url", [NEON_POOLED, SUPABASE_POOLED, PGBOUNCER])
def test_addresses_that_name_a_pooler_are_known(url: str) -> None:
    assert connection_target(url).transaction_pooled


@pytest.mark.parametrize("url", [NEON, SUPABASE, RAILWAY, HEROKU, RENDER])
def test_other_addresses_tell_nothing_of_a_pooler(url: str) -> None:
    assert not connection_target(url).transaction_pooled


def test_settings_of_the_server_reach_it() -> None:
    target = connection_target("postgresql://user@db/app?application_name=my%20app&options=-c%20statement_timeout%3D5s")
    assert target.server_settings == {"application_name": "my app", "options": "-c statement_timeout=5s"}


def test_parameters_that_have_no_effect_are_named_and_not_sent() -> None:
    url = "postgresql://user@db/app?schema=public&pgbouncer=true&connection_limit=1&sslmode=disable"
    assert connection_target(url).ignored == ["connection_limit", "pgbouncer", "schema"]
    assert connection_target(NEON).ignored == ["channel_binding"]
    assert not connection_target(url).server_settings


@pytest.mark.parametrize("url", ["", "hunter2", "mysql://user:hunter2@db/app", "postgresql:user:hunter2@db/app"])
def test_what_is_no_url_of_postgresql_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match="must be a PostgreSQL URL such as") as caught:
        connection_target(url)
    assert "hunter2" not in str(caught.value)


def test_a_target_does_not_show_the_password() -> None:
    assert "secret" not in repr(connection_target(NEON))


class FakeConnection:
    def __init__(
        self, options: dict[str, Any], pids: tuple[int, int], error: Exception | None, *, tracks: bool = False
    ) -> None:
        self.options = options
        self.state = "open"
        self.sent: list[str] = []
        self._announced, self._real = pids
        self._error = error
        self._tracks = tracks
        self._stmts_to_close: set[Any] = set()

    def get_server_pid(self) -> int:
        return self._announced

    async def execute(self, sql: str) -> str:
        self.sent.append(sql)
        if self._error:
            raise self._error
        holds = self._tracks if "pg_prepared_statements" in sql else self._announced == self._real
        return f"SELECT {int(holds)}"

    async def prepare(self, sql: str, *, name: str) -> None:
        self.sent.append(f"{name}: {sql}")

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109
        self.state = "closed"

    def terminate(self) -> None:
        self.state = "terminated"


class FakeTarget:
    """Opens fake connections.

    Args:
        announced: the process id that the greeting announces.
        real: the process id of the server process.
    """

    alternates = False
    """Whether each connection leads to the other kind: process id 1 is a pooler's, 2 the server's."""
    tracks = False
    """Whether the pooler tracks prepared statements."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, announced: int, real: int) -> None:
        self.opened: list[Any] = []
        self.error: Exception | None = None
        self.announced = announced

        async def connect(_target: ConnectionTarget, **options: Any) -> Any:
            self.opened.append(FakeConnection(options, (self.announced, real), self.error, tracks=self.tracks))
            if self.alternates:
                self.announced = 3 - self.announced
            return self.opened[-1]

        monkeypatch.setattr(ConnectionTarget, "connect", connect)

    def tracked(self) -> list[bool]:
        """For each opened connection, whether its statements are kept under texts of their own."""
        return [connection.options.get("connection_class") is TrackedConnection for connection in self.opened]

    def keeps_statements(self) -> list[bool]:
        """For each opened connection, whether it keeps prepared statements."""
        return ["statement_cache_size" not in connection.options for connection in self.opened]


async def test_a_pooler_is_known_by_its_process_id(monkeypatch: pytest.MonkeyPatch) -> None:
    target = FakeTarget(monkeypatch, announced=1, real=2)
    connector = Connector(connection_target(SUPABASE), timeout_seconds=1)
    assert [await connector(), await connector()] == target.opened[1:]
    assert target.opened[0].state == "closed"
    assert target.keeps_statements() == [True, False, False]


async def test_a_direct_connection_keeps_its_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    target = FakeTarget(monkeypatch, announced=2, real=2)
    connector = Connector(connection_target(SUPABASE), timeout_seconds=1)
    first, second = await connector(), await connector()
    assert [first, second] == target.opened, "the probe is the first connection"
    assert target.keeps_statements() == [True, True]


async def test_each_connection_is_asked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The same address leads to PostgreSQL itself, then to a pooler, then to a newer pooler, and back."""
    caplog.set_level("INFO")
    target = FakeTarget(monkeypatch, announced=2, real=2)
    connector = Connector(connection_target(SUPABASE), timeout_seconds=1)
    kept: list[Any] = [await connector(), await connector()]
    target.announced = 1
    kept += [await connector(), await connector()]
    target.tracks = True
    kept += [await connector(), await connector()]
    target.announced = 2
    kept += [await connector(), await connector()]
    assert [connection for connection in target.opened if connection.state == "open"] == kept
    classes = [NamingConnection] * 2 + [None] * 2 + [TrackedConnection] * 2 + [NamingConnection] * 2
    assert [connection.options.get("connection_class") for connection in kept] == classes
    assert ["statement_cache_size" in connection.options for connection in kept] == [each is None for each in classes]
    assert len(target.opened) == len(kept) + 3, "what is known makes the next connection cost one"
    assert caplog.messages == [
        "DATABASE_URL leads to a transaction pooler: prepared statements are not kept",
        "DATABASE_URL leads to a transaction pooler that tracks prepared statements: they are kept",
        "DATABASE_URL leads to PostgreSQL itself: prepared statements are kept",
    ]


async def test_an_address_that_leads_now_here_now_there_keeps_no_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of two addresses, one of them a pooler's."""
    target = FakeTarget(monkeypatch, announced=1, real=2)
    target.alternates = True
    assert await Connector(connection_target(SUPABASE), timeout_seconds=1)() == target.opened[2]
    assert target.keeps_statements() == [True, False, False]
    assert [connection.state for connection in target.opened] == ["closed", "closed", "open"]


async def test_an_address_that_names_its_pooler_is_asked_only_whether_it_tracks_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = FakeTarget(monkeypatch, announced=2, real=2)
    connector = Connector(connection_target(NEON_POOLED), timeout_seconds=1)
    assert [await connector(), await connector()] == target.opened[1:]
    assert target.tracked() == [True, False, False]
    target.tracks = True
    assert [await connector(), await connector()] == target.opened[4:]
    assert target.tracked() == [True, False, False, False, True, True]
    assert not [sql for connection in target.opened for sql in connection.sent if "pg_backend_pid" in sql]


async def test_the_question_is_asked_in_one_session_and_leaves_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    target = FakeTarget(monkeypatch, announced=1, real=2)
    await Connector(connection_target(NEON_POOLED), timeout_seconds=1)()
    begin, prepared, _, end = target.opened[0].sent
    assert begin == "BEGIN"
    assert end == f"DEALLOCATE {prepared.partition(':')[0]}; ROLLBACK"
    target.tracks = True
    await Connector(connection_target(NEON_POOLED), timeout_seconds=1)()
    assert target.opened[-1].sent[-1] == "ROLLBACK"


async def test_a_probe_that_fails_leaves_no_connection_and_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    target = FakeTarget(monkeypatch, announced=1, real=2)
    target.error = asyncpg.ConnectionDoesNotExistError("gone")
    connector = Connector(connection_target(SUPABASE), timeout_seconds=1)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await connector()
    assert target.opened[0].state == "terminated"
    target.error = None
    assert await connector() == target.opened[2]
    assert target.keeps_statements() == [True, True, False]


async def test_what_is_to_be_looked_at_on_the_server_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def look(connection: asyncpg.Connection) -> None:
        seen.append(connection)

    for announced in (1, 2):
        target = FakeTarget(monkeypatch, announced=announced, real=2)
        connector = Connector(connection_target(SUPABASE), timeout_seconds=1, when_direct=look)
        await connector()
        await connector()
    assert seen == [target.opened[0]], "not of a pooler"


async def test_the_system_looks_whether_the_other_side_is_there(database_url: str) -> None:
    connection: Any = await connection_target(database_url).connect(timeout_seconds=10)
    peer = connection._transport.get_extra_info("socket")
    assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for name, value in {"TCP_KEEPINTVL": 5, "TCP_USER_TIMEOUT": 5000}.items():
        if hasattr(socket, name):
            assert peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
    await connection.close()


async def test_a_real_direct_connection_is_known(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with database_at(database_url) as database:
        assert await database.all(NOW)
    assert "transaction pooler" not in caplog.text


Row = create_model("Row", value=(Any, ...))
numbers = public(Table("numbers", MetaData(), Column("value", Integer)), reason="Of these tests.")
NOW = Statement(select(func.now().label("value")), returns=Row)
ECHO = Statement(select(bindparam("value", type_=Integer).label("value")), returns=Row)
READ = Statement(select(numbers.c.value), returns=Row)
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
async def pgbouncer_url(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The database through a PgBouncer that pools transactions on two server connections."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    server = urlsplit(database_url)
    name = server.path.removeprefix("/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(f"""
[databases]
{name} = host={server.hostname} port={server.port} user={server.username} password={server.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
""")
    # PgBouncer refuses to run as root.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(PROGRAM, "-q", *user, str(settings))
    await eventually(lambda: answers(port))
    yield f"postgresql://anyone@127.0.0.1:{port}/{name}"
    process.terminate()
    await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.fixture
async def pooled(pgbouncer_url: str) -> AsyncIterator[Database]:
    async with database_at(pgbouncer_url, pool_size=5) as database:
        yield database


async def test_a_real_pooler_is_found_out(pooled: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert await pooled.all(NOW)
    assert caplog.messages.count("DATABASE_URL leads to a transaction pooler: prepared statements are not kept") == 1


async def test_statements_run_side_by_side_through_a_pooler(pooled: Database) -> None:
    async def echo(value: int) -> Any:
        row = await pooled.one(ECHO, value=value)
        return row and row.model_dump()["value"]

    async def echo_in_transaction(value: int) -> Any:
        async with pooled.transaction() as transaction:
            row = await transaction.one(ECHO, value=value)
            assert await transaction.all(NOW) == await transaction.all(NOW)
        return row and row.model_dump()["value"]

    values = range(100)
    assert await asyncio.gather(*map(echo, values), *map(echo_in_transaction, values)) == [*values, *values]


async def test_a_columns_new_type_is_seen_through_a_pooler(pooled: Database, connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE numbers AS SELECT 1 AS value")
    assert [dict(row) for row in await pooled.all(READ)] == [{"value": 1}]
    await connection.execute("ALTER TABLE numbers ALTER COLUMN value TYPE text USING 'number ' || value")
    for _ in range(5):
        assert [dict(row) for row in await pooled.all(READ)] == [{"value": "number 1"}]
