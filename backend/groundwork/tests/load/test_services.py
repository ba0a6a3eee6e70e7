"""The services that `make benchmark` compares do the same work: four operations, answered with the same members."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from loadtests.benchmark.client import Load, Outcome, drive
from loadtests.benchmark.database import Key
from loadtests.benchmark.load import get
from loadtests.benchmark.servers import FLOOR, TUTORIAL, Service, running

TASKS = "/api/alice/tasks"
NEW = {"title": "Buy milk", "description": "Two litres"}


@pytest.fixture(params=[FLOOR, TUTORIAL], ids=lambda variant: variant.name)
def service(request: pytest.FixtureRequest, database_url: str) -> Iterator[Service]:
    with running(request.param, database_url, ready=TASKS) as service:
        yield service


@pytest.fixture
async def other(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}") as other:
        yield other


def values(task: dict[str, Any]) -> dict[str, Any]:
    """The members, whichever way the times are written."""
    return {name: datetime.fromisoformat(value) if name.endswith("_at") else value for name, value in task.items()}


async def test_the_four_operations_answer_as_ours_do(client: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    created = await other.post(TASKS, json=NEW)
    assert created.status_code == (await client.post(TASKS, json=NEW)).status_code == 201
    path = f"{TASKS}/{created.json()['id']}"
    assert values((await other.get(path)).json()) == values((await client.get(path)).json()) == values(created.json())

    assert [values(each) for each in (await other.get(TASKS)).json()] == [
        values(each) for each in (await client.get(TASKS)).json()
    ]

    toggled = await other.patch(f"{path}/complete")
    assert toggled.status_code == 200
    assert toggled.json()["completed"] is True
    assert toggled.json()["updated_at"] > created.json()["updated_at"]
    assert values(toggled.json()) == values((await client.get(path)).json())


async def test_another_users_task_is_not_found(client: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    task = (await client.post("/api/bob/tasks", json=NEW)).json()
    assert (await other.get(f"{TASKS}/{task['id']}")).status_code == 404
    assert (await other.patch(f"{TASKS}/{task['id']}/complete")).status_code == 404


async def load(service: Service, request: bytes) -> Outcome:
    return await drive(
        Load(
            port=service.port,
            requests=[request.decode()],
            connections=5,
            seconds=0.3,
            warm_up_seconds=0.1,
            server_pid=service.pid,
        )
    )


async def test_the_load_generator_counts_what_it_gets(service: Service, other: httpx.AsyncClient) -> None:
    task = (await other.post(TASKS, json=NEW)).json()
    good = await load(service, get(Key("alice", task["id"])))
    assert good.answers > 0
    assert good.errors == {}
    assert 0 < good.p50_seconds <= good.p99_seconds < 1
    bad = await load(service, get(Key("bob", task["id"])))
    assert bad.errors.keys() == {"404"}
    assert bad.errors["404"] >= bad.answers > 0


async def test_the_load_generator_counts_connections_that_fail(service: Service) -> None:
    refused = Service(service.pid, 1, service.cores, 0)
    outcome = await load(refused, b"")
    assert outcome.errors == {"not connected": 5}
    assert outcome.answers == 0
