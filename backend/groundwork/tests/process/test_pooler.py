"""The service behind both kinds of poolers, with two workers, under load and during changes of the schema."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import BaseModel
from sqlalchemy import column, select, table

from groundwork.data.database import Database
from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.tests.core import database_at
from groundwork.tests.pooler import CHANGES, Pooler
from groundwork.tests.process import server

USERS = 20
ROUNDS = 2
SECONDS_BETWEEN_CHANGES = 0.3


@pytest.fixture(params=["pooler", "tracking_pooler"])
def each_pooler(request: pytest.FixtureRequest) -> Pooler:
    pooler: Pooler = request.getfixturevalue(request.param)
    return pooler


@pytest.fixture
def service(tmp_path: Path, each_pooler: Pooler, database_url: str) -> Iterator[server.Server]:
    with server.running(tmp_path, DATABASE_URL=each_pooler.url(database_url), WEB_CONCURRENCY="2") as service:
        yield service


async def test_no_request_fails_and_no_value_is_wrong_while_the_schema_changes(
    service: server.Server, connection: asyncpg.Connection
) -> None:
    ended = asyncio.Event()
    users = [asyncio.create_task(_use(service.url, f"user-{number}", ended)) for number in range(USERS)]
    for change in CHANGES * ROUNDS:
        await asyncio.sleep(SECONDS_BETWEEN_CHANGES)
        await connection.execute(change)
    await asyncio.sleep(SECONDS_BETWEEN_CHANGES)
    ended.set()
    requests = sum(await asyncio.gather(*users))
    assert requests > USERS * len(CHANGES)
    events = service.events()
    assert any("leads to a transaction pooler" in event["message"] for event in events)
    assert [event for event in events if event["level"] in ("warning", "error")] == []


async def _use(url: str, user_id: str, ended: asyncio.Event) -> int:
    """Create, read, change and delete until the end. Each answer must be the user's own. Returns their number."""
    requests = 0
    async with httpx.AsyncClient(base_url=f"{url}/api/{user_id}", timeout=30) as client:

        async def send(method: str, path: str, status: int, **options: Any) -> Any:
            nonlocal requests
            requests += 1
            response = await client.request(method, path, **options)
            assert response.status_code == status, response.text
            return response.json()

        while not ended.is_set():
            title = f"{user_id} {requests}"
            task = await send("POST", "/tasks", 201, json={"title": title, "description": title})
            path = f"/tasks/{task['id']}"
            _check(task, user_id, title, completed=False)
            _check(await send("GET", path, 200), user_id, title, completed=False)
            _check(await send("PATCH", f"{path}/complete", 200), user_id, title, completed=True)
            title = f"{title} again"
            _check(await send("PUT", path, 200, json={"title": title}), user_id, title, completed=True)
            [listed] = await send("GET", "/tasks", 200)
            _check(listed, user_id, title, completed=True)
            await send("DELETE", path, 200)
    return requests


def _check(task: Any, user_id: str, title: str, *, completed: bool) -> None:
    assert (task["user_id"], task["title"], task["completed"]) == (user_id, title, completed)
    # A change drops the column, and so its values.
    assert task["description"] in (None, title.removesuffix(" again"))


class _Number(BaseModel):
    value: Any


_numbers = public(table("numbers", column("value")), reason="Of these tests.")
_NUMBER = Statement(select(_numbers.c.value), returns=_Number)


async def test_a_value_is_right_after_its_columns_type_changed(
    each_pooler: Pooler, database_url: str, connection: asyncpg.Connection
) -> None:
    """If only the client keeps a statement, it reads the bytes of the new type as the old type."""
    await connection.execute("CREATE TABLE numbers (value integer); INSERT INTO numbers VALUES (7)")
    async with database_at(each_pooler.url(database_url), pool_size=5) as database:
        for type_, value in (("integer", 7), ("bigint", 7), ("text", "7"), ("double precision", 7.0)):
            await connection.execute(f"ALTER TABLE numbers ALTER COLUMN value TYPE {type_} USING value::{type_}")
            assert await _on_every_connection(database) == [value] * 50


async def _on_every_connection(database: Database) -> list[Any]:
    rows = await asyncio.gather(*(database.one(_NUMBER) for _ in range(50)))
    return [row.value if row else None for row in rows]
