"""The services that `make benchmark` compares do the same work: they answer four operations with the same members."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from groundwork.tests.attack.processes import wait_until
from loadtests.benchmark import peer
from loadtests.benchmark.client import Load, Outcome, drive
from loadtests.benchmark.database import Key
from loadtests.benchmark.load import create, get, page, toggle
from loadtests.benchmark.same import require_same_answers
from loadtests.benchmark.servers import FASTIFY, FLOOR, TUTORIAL, Service, running
from loadtests.benchmark.wire import request as http_request

TASKS = "/api/alice/tasks"
NOBODYS = "018f0000-0000-7000-8000-000000000000"
NEW = {"title": "Buy milk", "description": "Two litres"}


needs_peer = pytest.mark.skipif(not peer.is_installed(), reason="make benchmark has not installed Fastify")


@pytest.fixture(params=[FLOOR, TUTORIAL, pytest.param(FASTIFY, marks=needs_peer)], ids=lambda variant: variant.name)
def service(request: pytest.FixtureRequest, database_url: str) -> Iterator[Service]:
    with running(request.param, database_url, ready=TASKS) as service:
        yield service


@pytest.fixture
async def other(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}") as other:
        yield other


def values(task: dict[str, Any]) -> dict[str, Any]:
    """The members of a task, with times in one form."""
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


async def test_an_answer_that_differs_is_named(service: Service, other: httpx.AsyncClient) -> None:
    """Both names stand for one service here, so the second toggle gets another answer than the first."""
    task = (await other.post(TASKS, json=NEW)).json()
    key = Key("alice", task["id"])
    requests = {
        "get": [get(key)],
        "list of 20": [page("alice", "")],
        "create": [create()],
        "toggle": [http_request("PATCH", f"{TASKS}/{NOBODYS}/complete")],
    }
    require_same_answers({"one": service, "other": service}, requests)
    with pytest.raises(RuntimeError, match="toggle: other answers"):
        require_same_answers({"one": service, "other": service}, {**requests, "toggle": [toggle(key)]})


@needs_peer
class TestFastify:
    """The duties of the service that the floor and the tutorial do not have."""

    @pytest.fixture
    def service(self, database_url: str) -> Iterator[Service]:
        with running(FASTIFY, database_url, ready=TASKS) as service:
            yield service

    async def test_every_answer_has_an_id_and_the_headers(self, other: httpx.AsyncClient) -> None:
        for path, status in ((TASKS, 200), (f"{TASKS}/{NOBODYS}", 404), ("/nothing", 404)):
            answer = await other.get(path, headers={"X-Request-ID": "given.1"})
            assert answer.status_code == status
            assert answer.headers["x-request-id"] == "given.1"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        made = await other.get(TASKS, headers={"X-Request-ID": "not safe"})
        assert len(made.headers["x-request-id"]) == 36

    @pytest.mark.parametrize(
        "body", [{}, {"title": " "}, {"title": 1}, {"title": "x" * 201}, {"title": "x", "description": "\0"}], ids=str
    )
    async def test_a_bad_body_is_refused(
        self, client: httpx.AsyncClient, other: httpx.AsyncClient, body: dict[str, Any]
    ) -> None:
        ours, theirs = [await each.post(TASKS, json=body) for each in (client, other)]
        assert theirs.status_code == ours.status_code == 400
        assert theirs.headers["content-type"].startswith("application/problem+json")
        assert theirs.json().keys() == ours.json().keys()

    async def test_other_bad_requests_are_refused(self, client: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
        as_json = {"Content-Type": "application/json"}
        for each in (client, other):
            assert (await each.get(f"{TASKS}/1")).status_code == 400
            assert (await each.post(TASKS, content="{", headers=as_json)).status_code == 400
            assert (await each.post(TASKS, content="{}", headers={"Content-Type": "text/plain"})).status_code == 415
            assert (await each.post(TASKS, content=b" " * 1024 * 1025, headers=as_json)).status_code == 413
            assert (await each.get(f"{TASKS}?limit=0")).status_code == 400

    def test_each_request_has_a_line_in_the_log(self, service: Service) -> None:
        log = Path(f"/proc/{service.pid}/fd/1")
        headers = {"X-Request-ID": "logged.1"}
        httpx.get(f"http://127.0.0.1:{service.port}{TASKS}/{NOBODYS}", headers=headers)
        assert wait_until(lambda: "logged.1" in log.read_text())
        (line,) = [json.loads(line) for line in log.read_text().splitlines() if "logged.1" in line]
        expected = {"method": "GET", "route": "/api/:user_id/tasks/:task_id", "status": 404, "msg": "request"}
        assert {name: line[name] for name in expected} == expected
        assert line["duration_ms"] > 0

    async def test_requests_are_counted_by_route(self, other: httpx.AsyncClient) -> None:
        await other.get(f"{TASKS}/{NOBODYS}")
        series = 'http_request_duration_seconds_count{method="GET",route="/api/:user_id/tasks/:task_id",status="404"} 1'
        assert series in (await other.get("/metrics")).text


def test_without_node_the_peer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert peer.reason_without() == "Node and npm are not installed."
