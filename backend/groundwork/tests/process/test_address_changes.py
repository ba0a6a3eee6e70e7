"""The same host and port lead first to PostgreSQL itself, later to a transaction pooler, and then back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from groundwork.tests.core import eventually
from groundwork.tests.faults.proxy import Proxy
from groundwork.tests.pooler import Pooler
from groundwork.tests.process import server

WORKERS, USERS, TURNS = 3, 12, 30
POOLED, DIRECT = "leads to a transaction pooler: ", "leads to PostgreSQL itself"
TRACKED = "leads to a transaction pooler that tracks prepared statements"


class User:
    """A user who knows the own tasks, and checks each answer against them."""

    def __init__(self, url: str, number: int) -> None:
        self._client = httpx.AsyncClient(base_url=f"{url}/api/user-{number}", timeout=30)
        self._tasks: dict[str, Any] = {}
        self._random = Random(number)

    async def use(self) -> None:
        """Send requests. Each turn has a new connection, so that every worker gets some, in an order of its own."""
        await self._list(0)
        for turn in range(TURNS):
            act = self._random.choice([self._create, self._get, self._toggle, self._delete, self._list])
            if not self._tasks:
                act = self._create
            await act(turn)
        await self._list(TURNS)

    async def _send(self, method: str, path: str, status: int, **options: Any) -> Any:
        response = await self._client.request(method, path, headers={"Connection": "close"}, **options)
        assert response.status_code == status, response.text
        return response.json()

    def _choose(self) -> str:
        return self._random.choice(list(self._tasks))

    async def _create(self, turn: int) -> None:
        task = await self._send("POST", "/tasks", 201, json={"title": f"task {turn}"})
        self._tasks[task["id"]] = task

    async def _get(self, turn: int) -> None:
        id = self._choose()
        assert await self._send("GET", f"/tasks/{id}", 200) == self._tasks[id]

    async def _toggle(self, turn: int) -> None:
        id = self._choose()
        task = await self._send("PATCH", f"/tasks/{id}/complete", 200)
        assert task["completed"] is not self._tasks[id]["completed"]
        self._tasks[id] = task

    async def _delete(self, turn: int) -> None:
        id = self._choose()
        await self._send("DELETE", f"/tasks/{id}", 200)
        del self._tasks[id]

    async def _list(self, turn: int) -> None:
        listed = await self._send("GET", "/tasks", 200)
        assert {task["id"]: task for task in listed} == self._tasks


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Proxy]:
    """A relay that leads to PostgreSQL itself until the test turns it."""
    async with Proxy(port_of(database_url)).serving() as relay:
        yield relay


@pytest.fixture
async def service(tmp_path: Path, relay: Proxy, database_url: str) -> AsyncIterator[server.Server]:
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{relay.port}").geturl()
    # Only requests open connections. So when the present connections are cut, none is left.
    options = {"WEB_CONCURRENCY": str(WORKERS), "DATABASE_POOL_SIZE": "2", "DATABASE_OPEN_AT_START": "0"}
    running = server.running(tmp_path, DATABASE_URL=url, **options)
    # The start and the end run in threads, because this event loop runs the relay.
    yield await asyncio.to_thread(running.__enter__)
    await asyncio.to_thread(running.__exit__, None, None, None)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


async def test_no_row_is_lost_and_no_request_fails(
    service: server.Server, relay: Proxy, pooler: Pooler, database_url: str
) -> None:
    direct, pooled = port_of(database_url), port_of(pooler.url(database_url))
    await use_at(service, relay, direct, pooled, direct, pooled)
    events = service.events()
    assert [event for event in events if event["level"] in ("warning", "error")] == []
    messages = [event["message"] for event in events]
    # Each worker finds out about the pooler by itself.
    assert sum(POOLED in message for message in messages) == 2 * WORKERS
    assert sum(DIRECT in message for message in messages) == WORKERS


async def test_a_pooler_that_tracks_statements_comes_and_goes(
    service: server.Server, relay: Proxy, pooler: Pooler, tracking_pooler: Pooler, database_url: str
) -> None:
    direct, pooled, tracked = map(port_of, (database_url, pooler.url(database_url), tracking_pooler.url(database_url)))
    await use_at(service, relay, tracked, direct, tracked, pooled, tracked)
    events = service.events()
    assert [event for event in events if event["level"] in ("warning", "error")] == []
    messages = [event["message"] for event in events]
    assert [sum(kind in message for message in messages) for kind in (TRACKED, DIRECT, POOLED)] == [
        3 * WORKERS,
        WORKERS,
        WORKERS,
    ]


async def use_at(service: server.Server, relay: Proxy, *ports: int) -> None:
    """Turn the relay to each of these ports in turn, and let every user use the service. Old connections are cut."""
    users = [User(service.url, number) for number in range(USERS)]
    for port in ports:
        relay.target_port = port
        relay.cut()
        await eventually(relay.is_idle)
        await asyncio.gather(*(user.use() for user in users))
