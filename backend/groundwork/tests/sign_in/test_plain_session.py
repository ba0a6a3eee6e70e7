"""SQLModel's own session: who may open one, what it counts, and how it leaves the pool's connections."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import JSON, Column, MetaData, Table, func, literal, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config import Settings
from app.core.database import Database
from app.models.task import Task
from groundwork.data.known_tables import public
from groundwork.data.plain_session import open_session
from groundwork.data.statement import Statement
from groundwork.dev import guard
from groundwork.errors import Unavailable
from groundwork.http.plain_session import plain_session
from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.metrics import STATEMENT, STATEMENT_SECONDS, counts
from groundwork.serve.application import create_app
from groundwork.testing.http import assert_problem, client_of
from groundwork.tests.core import database_at, eventually, session_count
from groundwork.tests.sign_in.issuer import Issuer

Session = Annotated[AsyncSession, plain_session()]
Anybodys = Annotated[AsyncSession, plain_session(reason="These tests need no role.")]

staff = APIRouter(prefix="/staff", tags=["staff"])
router = APIRouter(prefix="/api/{user_id}", tags=["sessions"])
open_to_all = APIRouter(prefix="/open", tags=["open"])


@staff.get("/count")
@router.get("/count")
async def count_tasks(session: Session) -> int:
    return (await session.exec(select(func.count()).select_from(Task))).one()


@staff.post("/tasks")
async def add_tasks(session: Session, titles: list[str]) -> list[str]:
    session.add_all([Task(id=uuid4(), user_id="alice", title=title) for title in titles])
    await session.commit()
    return list((await session.exec(select(Task.title).order_by(Task.title))).all())


@open_to_all.get("/lost")
async def lose(session: Anybodys) -> None:
    session.add(Task(id=uuid4(), user_id="alice", title="never committed"))
    await session.flush()


@open_to_all.get("/broken")
async def break_constraint(session: Anybodys) -> None:
    session.add(Task(id=uuid4(), user_id="alice", title=""))
    await session.commit()


@open_to_all.get("/ended")
async def end_own_connection(session: Anybodys) -> None:
    await session.exec(text("SELECT pg_terminate_backend(pg_backend_pid())"))  # type: ignore[call-overload]


@open_to_all.get("/streamed")
async def stream(session: Anybodys, database: Database) -> StreamingResponse:
    await session.exec(select(func.count()).select_from(Task))

    async def body() -> AsyncIterator[str]:
        # The pool has one connection. It is free here only if the session is closed.
        connection = await database.lend()
        database.take_back(connection, None)
        yield "free"

    return StreamingResponse(body())


@pytest.fixture(params=[pytest.param(True, id="fast", marks=pytest.mark.fast), pytest.param(False, id="stock")])
async def served(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings.model_copy(update={"database_pool_size": 1, "database_wait_seconds": 5})
    app = create_app(settings, resources=[router], staff={"support": [staff]}, fast=request.param)
    app.include_router(open_to_all)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def test_it_works_behind_a_role(served: httpx.AsyncClient, issuer: Issuer) -> None:
    support = issuer.bearer("eve", roles=["support"])
    assert (await served.post("/staff/tasks", json=["b", "a"], headers=support)).json() == ["a", "b"]
    assert (await served.get("/staff/count", headers=support)).json() == 2
    assert_problem(await served.get("/staff/count", headers=issuer.bearer("eve")), 403)


async def test_a_route_that_asks_for_no_role_cannot_open_one(
    served: httpx.AsyncClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert_problem(await served.get("/api/eve/count", headers=issuer.bearer("eve", roles=["support"])), 500)
    assert "a plain session reaches everybody's rows, and the route asks for no role" in caplog.text


def test_a_reason_is_a_sentence_and_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="say in a sentence"):
        plain_session(reason="")
    guard.main()
    printed = capsys.readouterr().out
    assert "session    without a role: These tests need no role." in printed
    assert "guard_probe" not in printed


async def test_it_is_closed_before_the_answer_goes_out(served: httpx.AsyncClient) -> None:
    assert (await served.get("/open/streamed")).text == "free"


async def test_what_is_not_committed_is_lost_and_an_error_leaves_the_connection_usable(
    served: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    assert (await served.get("/open/lost")).status_code == 200
    first = await _only_session(connection)
    assert_problem(await served.get("/open/broken"), 500)
    assert (await served.get("/open/lost")).status_code == 200
    assert await connection.fetchval("SELECT count(*) FROM tasks") == 0
    assert await _only_session(connection) == first


async def test_a_lost_connection_is_503_and_the_next_request_gets_another(served: httpx.AsyncClient) -> None:
    answer = await served.get("/open/ended")
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert (await served.get("/open/lost")).status_code == 200


async def _only_session(connection: asyncpg.Connection) -> int:
    (pid,) = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() AND application_name = ''"
    )
    return int(pid["pid"])


async def test_sessions_count_in_the_pool(service_url: str, connection: asyncpg.Connection) -> None:
    async with database_at(service_url, pool_size=2) as database:

        async def hold() -> int:
            async with open_session(database) as session:
                pid: int = (await session.exec(select(func.pg_backend_pid()))).one()
                return pid

        assert len(set(await asyncio.gather(*(hold() for _ in range(8))))) <= 2
        assert await session_count(connection) <= 2


async def test_statements_are_counted_and_timed(service_url: str) -> None:
    place = counts.place((STATEMENT, "session"))
    measured = slice(place, place + 2 + len(STATEMENT_SECONDS))
    async with database_at(service_url, pool_size=1) as database, open_session(database) as session:
        await session.exec(select(1))
        request = CurrentRequest("test")
        token = current_request.set(request)
        before = list(counts.values[measured])
        await session.exec(select(1))
        with pytest.raises(DBAPIError):
            await session.exec(select(literal(1) / 0))
        current_request.reset(token)
        assert sum(counts.values[measured][1:]) - sum(before[1:]) == 2
        assert request.database_seconds == pytest.approx(counts.values[place] - before[0])


async def test_a_full_pool_is_503(service_url: str) -> None:
    async with database_at(service_url, pool_size=1, wait_seconds=0.2) as database, open_session(database) as first:
        await first.exec(select(1))
        async with open_session(database) as second:
            with pytest.raises(Unavailable):
                await second.exec(select(1))


@pytest.mark.parametrize("given_up", ["cancelled", "timed out"])
async def test_a_statement_that_is_given_up_costs_its_connection_and_no_more(
    service_url: str, connection: asyncpg.Connection, given_up: str
) -> None:
    wait_seconds = 0.5 if given_up == "timed out" else 10
    async with database_at(service_url, pool_size=1, wait_seconds=wait_seconds) as database:

        async def sleep() -> None:
            async with open_session(database) as session:
                await session.exec(select(func.pg_sleep(60)))

        task = asyncio.create_task(sleep())
        if given_up == "cancelled":
            await eventually(lambda: _sleeps(connection))
            task.cancel()
        with pytest.raises(asyncio.CancelledError if given_up == "cancelled" else Unavailable):
            await task
        async with asyncio.timeout(10):
            while True:
                try:
                    async with open_session(database) as session:
                        assert (await session.exec(select(1))).one() == 1
                    break
                except Unavailable:
                    continue
        assert not await _sleeps(connection)


async def _sleeps(connection: asyncpg.Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* plain session */%pg_sleep(%'"
            " AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()"
        )
    )


class _Sample(BaseModel):
    plain: Any
    jsonb: Any


samples = public(Table("samples", MetaData(), Column("plain", JSON), Column("jsonb", JSONB)), reason="Of these tests.")


@pytest.mark.parametrize("way", ["direct", "pooler", "tracking_pooler"])
async def test_values_are_right_on_connections_that_statements_use_too(
    request: pytest.FixtureRequest, database_url: str, connection: asyncpg.Connection, way: str
) -> None:
    """The database is reached through both kinds of poolers, and the schema changes in between."""
    url = database_url if way == "direct" else request.getfixturevalue(way).url(database_url)
    value = {"a": [1, None, "ä"]}
    statement = Statement(select(samples.c.plain, samples.c.jsonb), returns=_Sample)
    await connection.execute("CREATE TABLE samples (plain json, jsonb jsonb)")
    async with database_at(url, pool_size=1) as database:
        async with open_session(database) as session:
            await session.exec(samples.insert().values(plain=value, jsonb=value))
            await session.commit()
        for number in range(4):
            async with open_session(database) as session:
                assert (await session.exec(select(samples.c.plain, samples.c.jsonb))).all() == [(value, value)]
                assert (await session.exec(select(Task).where(col(Task.title) == f"none-{number}"))).all() == []
            found = await database.one(statement)
            assert found is not None
            assert (found.plain, found.jsonb) == (value, value)
            await connection.execute(f"ALTER TABLE samples ADD COLUMN other_{number} int")
            await connection.execute(
                f"ALTER TABLE tasks ALTER COLUMN title TYPE {'text' if number % 2 else 'varchar(200)'}"
            )


def test_a_service_without_one_imports_nothing_of_it() -> None:
    code = (
        "import sys, app.main\n"
        "print([name for name in sys.modules if 'plain_session' in name or name == 'sqlmodel.ext.asyncio.session'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
