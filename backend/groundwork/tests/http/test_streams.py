"""Who is told of which changes, and the behaviour of streams that can be tested without sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from app.core.config import Settings
from app.models.task import Task
from groundwork.data import connection_limits
from groundwork.data.connection_limits import ConnectionLimitError, require_enough_connections
from groundwork.data.database import Database, Executor
from groundwork.data.group_members import Groups, member_statements
from groundwork.data.notifications import (
    CHANNEL,
    EVERYTHING,
    PENDING_LIMIT,
    Change,
    Notifications,
    Subscription,
    notify,
)
from groundwork.data.tables import group_column, owner_column
from groundwork.errors import Unavailable
from groundwork.http.notifications import subscribed_to
from groundwork.http.routing import UserId, router_of
from groundwork.serve.application import create_app
from groundwork.testing.http import assert_problem, client_of
from groundwork.tests.core import database_at, eventually
from groundwork.tests.pooler import Pooler
from groundwork.tests.sign_in.issuer import running_issuer

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN %' AND datname = current_database()"


def listening(url: str, **options: Any) -> Notifications:
    return Notifications(url, **{"variable": "DATABASE_URL", "wait_seconds": 10, **options})


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with database_at(database_url) as database:
        yield database


async def next_of(subscription: Subscription) -> Change:
    async with asyncio.timeout(20):
        return await anext(subscription)


class Known:
    """Groups whose members a test decides, in place of `Groups`."""

    def __init__(self, **members: set[str]) -> None:
        self.known = members
        self.asked: list[str] = []
        self.away = False

    async def of(self, user: str) -> set[str]:
        return {group for group, users in self.known.items() if user in users}

    async def members(self, group: str, users: set[str]) -> set[str]:
        self.asked.append(group)
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable
        return self.known[group] & users


def known(**members: set[str]) -> Any:
    return Known(**members)


async def test_a_change_is_told_to_its_owner_alone(database_url: str, database: Database) -> None:
    process, other = listening(database_url), listening(database_url)
    async with (
        process.subscribe("tasks", owner="alice") as alice,
        other.subscribe("tasks", owner="alice") as alice_elsewhere,
        process.subscribe("tasks", owner="bob") as bob,
        process.subscribe("notes", owner="alice") as notes,
        process.subscribe("tasks", owner="carol", groups=known(alice={"carol"}, g7={"carol"})) as carol,
    ):
        await notify(database, "tasks", owner="alice", id_=1)
        await notify(database, "tasks", group="g7", id_=2)
        for owner in ("bob", "carol"):
            await notify(database, "tasks", owner=owner, id_="last")
        await notify(database, "notes", owner="alice", id_="last")
        assert await next_of(alice) == await next_of(alice_elsewhere) == Change("1")
        assert await next_of(bob) == Change("last")
        assert await next_of(notes) == Change("last")
        # A group and a user with the same name are different.
        assert [await next_of(carol), await next_of(carol)] == [Change("2", "g7"), Change("last")]


async def test_a_change_is_told_when_it_is_committed_and_not_if_it_is_undone(
    database_url: str, database: Database
) -> None:
    async with listening(database_url).subscribe("tasks", owner="alice") as alice:

        async def work(statements: Executor) -> None:
            await notify(statements, "tasks", owner="alice", id_="undone")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            await database.run_in_transaction(work)
        async with database.transaction() as statements:
            await notify(statements, "tasks", owner="alice", id_="kept")
            await notify(statements, "tasks", owner="alice", id_="kept")
            await asyncio.sleep(0.1)
            assert alice._pending == {}
        assert await next_of(alice) == Change("kept")
        assert alice._pending == {}


async def test_a_member_who_has_left_is_told_of_nothing_more(database_url: str, database: Database) -> None:
    groups = known(g7={"alice"}, g8={"alice"})
    async with listening(database_url).subscribe("tasks", owner="alice", groups=groups) as alice:
        groups.known["g7"].remove("alice")
        await notify(database, "tasks", group="g7", id_=1)
        await notify(database, "tasks", group="g8", id_=2)
        assert await next_of(alice) == Change("2", "g8")


async def test_while_the_members_cannot_be_read_only_the_need_to_read_is_told(
    database_url: str, database: Database
) -> None:
    groups = known(g7={"alice", "bob"})
    notifications = listening(database_url)
    async with (
        notifications.subscribe("tasks", owner="alice", groups=groups) as alice,
        notifications.subscribe("tasks", owner="bob", groups=groups) as bob,
    ):
        groups.away = True
        await notify(database, "tasks", group="g7", id_=1)
        assert [*await asyncio.gather(next_of(alice), next_of(bob))] == [EVERYTHING, EVERYTHING]
        groups.away = False
        await notify(database, "tasks", group="g7", id_=2)
        assert [*await asyncio.gather(next_of(alice), next_of(bob))] == [Change("2", "g7")] * 2


async def test_one_question_for_each_change_serves_all_subscribers_and_nobody_misses_one(
    database_url: str, database: Database
) -> None:
    users = [f"user {number}" for number in range(200)]
    groups = known(g7={*users}, g8={"user 0"})
    notifications, changes = listening(database_url), 20
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(notifications.subscribe("tasks", owner=user, groups=groups))
            for user in users
        ]
        groups.known["g7"] -= {"user 1"}
        for number in range(changes):
            await notify(database, "tasks", group="g7", id_=number)
        await notify(database, "tasks", group="g8", id_="other")
        for user in users:
            await notify(database, "tasks", owner=user, id_="last")

        async def heard(subscription: Subscription) -> list[Change]:
            found = [await next_of(subscription)]
            while found[-1].id != "last":
                found.append(await next_of(subscription))
            return found

        # One that leaves while it asks does not take the answer from the others.
        leaving = asyncio.create_task(next_of(opened[2]))
        await asyncio.sleep(0)
        leaving.cancel()
        first, second, _, *others = await asyncio.gather(*map(heard, opened))
        expected = [Change(str(number), "g7") for number in range(changes)]
        assert first == [*expected, Change("other", "g8"), Change("last")]
        assert second == [Change("last")]
        assert all(each == [*expected, Change("last")] for each in others)
    assert groups.asked == ["g7"] * changes + ["g8"]


class Base(SQLModel, registry=registry()):
    metadata = MetaData()


class Seat(Base, table=True):
    """Who is in which club."""

    club_id: UUID = group_column()
    person: str = owner_column()
    role: str


async def test_the_members_are_those_of_the_table_now(
    database_url: str, database: Database, connection: asyncpg.Connection
) -> None:
    await connection.execute("CREATE TABLE seat (club_id uuid, person text, role text, PRIMARY KEY (person, club_id))")
    one, two = uuid4(), uuid4()
    for club, person in ((one, "alice"), (two, "alice"), (one, "bob")):
        await connection.execute("INSERT INTO seat VALUES ($1, $2, 'reader')", club, person)
    groups = Groups(database, member_statements(Seat))
    assert await groups.of("alice") == {str(one), str(two)}
    assert await groups.of("mallory") == set()
    assert await groups.members(str(one), ["alice", "bob", "mallory"]) == {"alice", "bob"}
    assert await groups.members(str(one), ["bob"]) == {"bob"}
    notifications = listening(database_url)
    async with (
        notifications.subscribe("tasks", owner="alice", groups=Groups(database, groups.statements)) as alice,
        notifications.subscribe("tasks", owner="bob", groups=groups) as bob,
    ):
        await notify(database, "tasks", group=one, id_=1)
        assert [*await asyncio.gather(next_of(alice), next_of(bob))] == [Change("1", str(one))] * 2
        await connection.execute("DELETE FROM seat WHERE person = 'bob'")
        for club in (one, two):
            await notify(database, "tasks", group=club, id_=2)
        await notify(database, "tasks", owner="bob", id_="last")
        assert [await next_of(alice), await next_of(alice)] == [Change("2", str(one)), Change("2", str(two))]
        assert await next_of(bob) == Change("last")


def test_only_a_model_of_members_says_who_is_in_which_group() -> None:
    with pytest.raises(TypeError, match="is no table of members"):
        subscribed_to("tasks", members=Task)


async def test_a_slow_subscriber_is_told_to_read_everything(database_url: str, database: Database) -> None:
    async with listening(database_url).subscribe("tasks", owner="alice") as alice:
        async with database.transaction() as statements:
            for number in range(PENDING_LIMIT + 50):
                await notify(statements, "tasks", owner="alice", id_=number)
        await notify(database, "notes", owner="alice", id_="elsewhere")

        async def overflown() -> bool:
            return EVERYTHING in alice._pending

        await eventually(overflown)
        assert len(alice._pending) == 1
        assert await next_of(alice) is EVERYTHING
        await notify(database, "tasks", owner="alice", id_="next")
        assert await next_of(alice) == Change("next")


async def test_one_connection_listens_and_only_while_somebody_subscribes(
    database_url: str, connection: asyncpg.Connection
) -> None:
    notifications = listening(database_url)

    async def open_() -> int:
        number: int = await connection.fetchval(LISTENING)
        return number

    async def closed() -> bool:
        return await open_() == 0

    for _ in range(2):
        async with notifications.subscribe("tasks", owner="alice"), notifications.subscribe("tasks", owner="bob"):
            assert await open_() == 1
        await eventually(closed)
    assert notifications._subscribers == {}


async def test_after_a_lost_connection_subscribers_are_told_to_read_everything(
    database_url: str, database: Database, connection: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(database_url).subscribe("tasks", owner="alice") as alice:
        await connection.fetchval(LISTENING.replace("count(*)", "pg_terminate_backend(pid)"))
        assert await next_of(alice) is EVERYTHING
        await notify(database, "tasks", owner="alice", id_=1)
        assert await next_of(alice) == Change("1")
    assert "the connection of DATABASE_URL is lost" in caplog.text


async def test_while_the_database_is_away_nobody_can_subscribe() -> None:
    notifications = listening("postgresql://nobody@127.0.0.1:1/none", wait_seconds=0.3)
    with pytest.raises(Unavailable):
        async with notifications.subscribe("tasks", owner="alice"):
            pytest.fail("subscribed")
    assert (notifications._subscribers, notifications._listener) == ({}, None)


async def test_behind_a_pooler_the_log_says_what_to_set(
    pooler: Pooler, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifications = listening(pooler.url(database_url))
    with pytest.raises(Unavailable):
        async with notifications.subscribe("tasks", owner="alice"):
            pytest.fail("subscribed")
    assert "DATABASE_URL leads to a transaction pooler, behind which LISTEN does not work" in caplog.text
    assert "set DATABASE_DIRECT_URL" in caplog.text


async def test_the_direct_address_is_used(settings: Settings, pooler: Pooler, database_url: str) -> None:
    pooled = {"database_url": pooler.url(database_url), "database_direct_url": database_url}
    app = create_app(type(settings).model_validate(pooled), resources=[])
    async with (
        app.router.lifespan_context(app),
        app.notifications.subscribe("tasks", owner="alice") as alice,
    ):
        await notify(app.database, "tasks", owner="alice", id_=1)
        assert await next_of(alice) == Change("1")


@pytest.mark.parametrize(
    "payload",
    ["", "{}", "[]", '["tasks"]', "[[], {}, 1, 2]", '["a", "b", "c", "d", "e"]', "5", "[" * 7999, "9" * 7999],
    ids=lambda payload: payload[:20],
)
async def test_what_others_send_on_the_channel_does_no_harm(
    database_url: str, database: Database, connection: asyncpg.Connection, payload: str
) -> None:
    async with listening(database_url).subscribe("tasks", owner="alice") as alice:
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        await notify(database, "tasks", owner="alice", id_=1)
        assert await next_of(alice) == Change("1")


async def test_a_change_without_one_owner_or_with_long_ids_is_refused(database: Database) -> None:
    wrongs: list[dict[str, Any]] = [{}, {"owner": "alice", "group": 7}]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="whose"):
            await notify(database, "tasks", id_=1, **wrong)
    with pytest.raises(ValueError, match="at most 7999 bytes"):
        await notify(database, "tasks", owner="\u20ac" * 2700, id_=1)
    await notify(database, "tasks", owner="\u20ac" * 2600, id_=1)


async def test_the_listening_connections_count(connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    said = await require_enough_connections(connection, workers=2, pool_size=10)
    assert "(2 x 10), 2 to listen for changes, and 3 in reserve, need 25 of" in said
    available = int(said.partition("the database's ")[2].split()[0])
    await require_enough_connections(connection, workers=1, pool_size=available - 4)
    with pytest.raises(ConnectionLimitError, match=f"set DATABASE_POOL_SIZE to {available - 4} or less"):
        await require_enough_connections(connection, workers=1, pool_size=available - 3)
    monkeypatch.setattr(connection_limits, "further", {})
    await require_enough_connections(connection, workers=1, pool_size=available - 3)


router = router_of("events")


@router.get("", response_class=EventSourceResponse)
async def events(
    user_id: UserId, changes: Annotated[Subscription, subscribed_to("tasks")]
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="open")
    async for change in changes:
        yield ServerSentEvent(data=change.id)


@asynccontextmanager
async def served(settings: Settings, *, fast: bool) -> AsyncIterator[Any]:
    resources: list[APIRouter] = [router]
    app = create_app(settings, resources=resources, fast=fast)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield app, client


@pytest.mark.parametrize("fast", [True, False])
async def test_a_stream_needs_sign_in_and_ends_with_the_token(
    settings: Settings, database_url: str, *, fast: bool
) -> None:
    with running_issuer() as issuer:
        direct = {"database_direct_url": SecretStr(database_url)}
        settings = settings.model_copy(update={**issuer.settings(), **direct})
        async with served(settings, fast=fast) as (app, client):
            refused = await client.get("/api/alice/events")
            assert_problem(refused, 401)
            assert (await client.get("/api/alice/events", headers=issuer.bearer("bob"))).status_code == 404
            assert app.notifications._subscribers == {}
            # The clocks may differ by 30 s, so the stream ends in six.
            ends = issuer.bearer("alice", exp=int(time.time()) - 24)
            async with asyncio.timeout(30):
                answer = await client.get("/api/alice/events", headers=ends)
            assert (answer.status_code, answer.text) == (200, ": open\n\n")
            assert app.notifications._subscribers == {}


@pytest.mark.parametrize("fast", [True, False])
async def test_without_the_database_a_stream_is_refused_before_it_begins(settings: Settings, *, fast: bool) -> None:
    nowhere = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "database_wait_seconds": 0.3}
    async with served(type(settings).model_validate(nowhere), fast=fast) as (_, client):
        answer = await client.get("/api/alice/events")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
