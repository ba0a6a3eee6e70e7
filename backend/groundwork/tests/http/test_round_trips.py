"""How often each operation waits for the database. Over a network, these round trips are most of a request's time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from groundwork.serve.application import Application
from groundwork.testing.http import MISSING_ID, client_of
from groundwork.testing.service import Service
from groundwork.tests.core import eventually
from groundwork.tests.http import ALICE, create
from groundwork.tests.pooler import Pooler
from groundwork.tests.round_trips import CountingProxy

ROUND_TRIPS = {"database_url": 1, "pooler": 2, "tracking_pooler": 1}
"""The round trips of a statement, by the address of the database."""

Act = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


async def create_keyed(client: httpx.AsyncClient, key: str, title: str = "New") -> httpx.Response:
    return await client.post(ALICE, json={"title": title}, headers={"Idempotency-Key": key})


OPERATIONS: dict[str, Act] = {
    "get": lambda client, task: client.get(task),
    "list": lambda client, _: client.get(ALICE),
    "next page": lambda client, _: client.get(ALICE, params={"before": MISSING_ID, "completed": "false"}),
    "create": lambda client, _: client.post(ALICE, json={"title": "New"}),
    "put": lambda client, task: client.put(task, json={"title": "New"}),
    "toggle": lambda client, task: client.patch(f"{task}/complete"),
    "create with a key": lambda client, _: create_keyed(client, str(uuid4())),
    "replay": lambda client, _: create_keyed(client, "first"),
    "another request with its key": lambda client, _: create_keyed(client, "first", title="Another"),
    "get that is missing": lambda client, _: client.get(f"{ALICE}/{MISSING_ID}"),
    "put that is missing": lambda client, _: client.put(f"{ALICE}/{MISSING_ID}", json={"title": "New"}),
    "delete that is missing": lambda client, _: client.delete(f"{ALICE}/{MISSING_ID}"),
    "ready": lambda client, _: client.get("/health/ready"),
}


@pytest.fixture(params=ROUND_TRIPS)
async def proxy(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[CountingProxy]:
    address: Any = request.getfixturevalue(request.param)
    url = address.url(database_url) if isinstance(address, Pooler) else database_url
    proxy = CountingProxy(url)
    async with proxy.serving():
        yield proxy


@pytest.fixture
async def client(service_under_test: Service, proxy: CountingProxy) -> AsyncIterator[httpx.AsyncClient]:
    # There is one connection, so after its first run an operation finds its statement prepared.
    settings = service_under_test.settings(database_url=proxy.url, database_pool_size=1)
    app = service_under_test.create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.usefixtures("postgres_server")
async def test_each_operation_is_one_statement(
    client: httpx.AsyncClient, proxy: CountingProxy, request: pytest.FixtureRequest
) -> None:
    expected = ROUND_TRIPS[request.node.callspec.params["proxy"]]
    task = f"{ALICE}/{(await create(client))['id']}"
    for name, act in OPERATIONS.items():
        first = await act(client, task)
        before = proxy.round_trips
        again = await act(client, task)
        assert (again.status_code, proxy.round_trips - before) == (first.status_code, expected), name
    others = [f"{ALICE}/{(await create(client))['id']}" for _ in range(2)]
    await client.delete(others.pop())
    before = proxy.round_trips
    assert (await client.delete(others.pop())).status_code == 200
    assert proxy.round_trips - before == expected, "delete"


async def test_a_write_under_a_condition_takes_one_more_only_when_it_fails(
    client: httpx.AsyncClient, proxy: CountingProxy, request: pytest.FixtureRequest
) -> None:
    expected = ROUND_TRIPS[request.node.callspec.params["proxy"]]
    task = f"{ALICE}/{(await create(client))['id']}"

    async def put(tag: str) -> tuple[int, int]:
        before = proxy.round_trips
        answer = await client.put(task, json={"title": "New"}, headers={"If-Match": tag})
        return answer.status_code, proxy.round_trips - before

    old = (await client.get(task)).headers["etag"]
    await put(old)
    await put(old)
    new = (await client.get(task)).headers["etag"]
    assert await put(new) == (200, expected)
    assert await put(new) == (412, 2 * expected)


@pytest.mark.usefixtures("one_attempt_at_a_time")
@pytest.mark.parametrize("opened", [0, 1, 3])
async def test_the_service_opens_the_first_connections_when_it_starts(
    service_under_test: Service, database_url: str, opened: int
) -> None:
    proxy = CountingProxy(database_url)
    async with proxy.serving():
        settings = service_under_test.settings(database_url=proxy.url, database_open_at_start=opened)
        app = service_under_test.create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            await eventually(lambda: idle(app, opened))
            assert proxy.attempts == opened
            before = proxy.round_trips
            assert (await client.get(ALICE)).status_code == 200
            assert proxy.attempts == max(opened, 1)
            # The statement is new on this connection.
            assert not opened or proxy.round_trips - before == 2


async def idle(app: Application, count: int) -> bool:
    return len(app.database._pool._idle) == count
