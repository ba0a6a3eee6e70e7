"""Who is told of which changes, and the behaviour of streams that can be tested without sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import SecretStr

from app.core.config import Settings
from groundwork.data import connection_limits
from groundwork.data.connection_limits import ConnectionLimitError, require_enough_connections
from groundwork.data.database import Database, Executor
from groundwork.data.notifications import (
    CHANNEL,
    EVERYTHING,
    PENDING_LIMIT,
    Change,
    Notifications,
    Subscription,
    notify,
)
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


async def members_of(*ids: str) -> list[str]:
    return [*ids]


async def test_a_change_is_told_to_its_owner_alone(database_url: str, database: Database) -> None:
    process, other = listening(database_url), listening(database_url)
    async with (
        process.subscribe("tasks", owner="alice") as alice,
        other.subscribe("tasks", owner="alice") as alice_elsewhere,
        process.subscribe("tasks", owner="bob") as bob,
        process.subscribe("notes", owner="alice") as notes,
        process.subscribe("tasks", owner="carol", groups=lambda: members_of("alice", "7")) as carol,
    ):
        await notify(database, "tasks", owner="alice", id_=1)
        await notify(database, "tasks", group="7", id_=2)
        for owner in ("bob", "carol"):
            await notify(database, "tasks", owner=owner, id_="last")
        await notify(database, "notes", owner="alice", id_="last")
        assert await next_of(alice) == await next_of(alice_elsewhere) == Change("1")
        assert await next_of(bob) == Change("last")
        assert await next_of(notes) == Change("last")
        # A group and a user with the same name are different.
        assert [await next_of(carol), await next_of(carol)] == [Change("2", "7"), Change("last")]


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
    groups = ["7", "8"]

    async def mine() -> list[str]:
        return groups

    async with listening(database_url).subscribe("tasks", owner="alice", groups=mine) as alice:
        groups.remove("7")
        await notify(database, "tasks", group="7", id_=1)
        await notify(database, "tasks", group="8", id_=2)
        assert await next_of(alice) == Change("2", "8")


async def test_while_the_groups_cannot_be_read_only_the_need_to_read_is_told(
    database_url: str, database: Database
) -> None:
    away = False

    async def mine() -> list[str]:
        if away:
            raise Unavailable
        return ["7"]

    async with listening(database_url).subscribe("tasks", owner="alice", groups=mine) as alice:
        away = True
        await notify(database, "tasks", group="7", id_=1)
        assert await next_of(alice) is EVERYTHING


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
