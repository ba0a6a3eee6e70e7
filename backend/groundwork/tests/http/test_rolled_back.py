"""Clients do not notice that PostgreSQL rolls back a transaction, because it is run again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.http import client_of
from groundwork.tests.core import set_default
from groundwork.tests.http import ALICE, create
from groundwork.tests.pooler import CHANGES

CLIENTS, TURNS = 6, 10
SIMPLE_CHANGES = ("ALTER TABLE tasks ALTER title TYPE varchar(250)", *CHANGES)


async def post(client: httpx.AsyncClient, key: object) -> httpx.Response:
    return await client.post(ALICE, json={"title": "Buy milk"}, headers={"Idempotency-Key": f'"{key}"'})


class TestStrictIsolation:
    """A role or a database whose default isolation level is repeatable read or serializable."""

    @pytest.fixture(params=["repeatable read", "serializable"])
    async def client(
        self, request: pytest.FixtureRequest, settings: Settings, connection: asyncpg.Connection
    ) -> AsyncIterator[httpx.AsyncClient]:
        await set_default(connection, "default_transaction_isolation", request.param)
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client

    async def test_every_toggle_of_many_at_once_is_answered_and_counts(self, client: httpx.AsyncClient) -> None:
        path = f"{ALICE}/{(await create(client))['id']}/complete"

        async def toggle() -> list[httpx.Response]:
            return [await client.patch(path) for _ in range(TURNS)]

        answers = [answer for some in await asyncio.gather(*(toggle() for _ in range(CLIENTS))) for answer in some]
        assert {answer.status_code for answer in answers} == {200}
        completed = [answer.json()["completed"] for answer in answers]
        assert completed.count(True) == completed.count(False) == CLIENTS * TURNS / 2
        assert len({answer.headers["etag"] for answer in answers}) == CLIENTS * TURNS

    async def test_every_change_and_deletion_of_many_at_once_is_answered(self, client: httpx.AsyncClient) -> None:
        for turn in range(TURNS):
            path = f"{ALICE}/{(await create(client))['id']}"
            changes: list[Any] = [client.put(path, json={"title": f"{turn} {number}"}) for number in range(CLIENTS)]
            answers = await asyncio.gather(*changes)
            assert {answer.status_code for answer in answers} == {200}
            deletions = await asyncio.gather(*(client.delete(path) for _ in range(CLIENTS)))
            assert sorted(answer.status_code for answer in deletions) == [200] + [404] * (CLIENTS - 1)

    async def test_requests_with_one_key_at_once_create_once(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for turn in range(TURNS):
            answers = await asyncio.gather(*(post(client, turn) for _ in range(CLIENTS)))
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.content for answer in answers}) == 1
            assert len({str(answer.headers.raw[:-1]) for answer in answers}) == 1
        assert await connection.fetchval("SELECT count(*) FROM tasks") == TURNS

    async def test_requests_with_keys_of_their_own_create_each(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        """Each request also deletes expired keys, and all of them meet at the same rows."""
        for old in range(15):
            await post(client, f"old {old}")
        await connection.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
        answers = await asyncio.gather(*(post(client, number) for number in range(CLIENTS * TURNS)))
        assert {answer.status_code for answer in answers} == {201}
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 15 + CLIENTS * TURNS


async def test_no_request_with_a_key_sees_a_change_of_the_schema(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    """There are more requests at once than connections, so every connection is tested."""
    for number, change in enumerate(("SELECT 1", *SIMPLE_CHANGES)):
        await connection.execute(change)
        answers = await asyncio.gather(*(post(client, f"{number} {each}") for each in range(40)))
        assert {answer.status_code for answer in answers} == {201}, change
        for answer in answers:
            assert answer.headers.get_list("location") == [f"{ALICE}/{answer.json()['id']}"]
            assert len(answer.headers.get_list("etag")) == 1
        retries = await asyncio.gather(*(post(client, f"{number} {each}") for each in range(40)))
        assert [retry.content for retry in retries] == [answer.content for answer in answers]


COLLIDE_ONCE = """
    CREATE SEQUENCE attempts;
    CREATE FUNCTION collide_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('attempts') = 1 THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF; RETURN NEW;
    END $$;
    CREATE TRIGGER collide_once BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION collide_once();
"""


async def test_the_answer_of_a_creation_that_was_run_again_is_of_the_last_run_only(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await connection.execute(COLLIDE_ONCE)
    first = await post(client, "key")
    again = await post(client, "key")
    for answer in (first, again):
        assert answer.status_code == 201
        assert answer.headers.get_list("location") == [f"{ALICE}/{first.json()['id']}"]
        assert len(answer.headers.get_list("etag")) == 1
    assert (await client.get(first.headers["location"])).json() == first.json()
    assert await connection.fetchval("SELECT count(*) FROM tasks") == 1
