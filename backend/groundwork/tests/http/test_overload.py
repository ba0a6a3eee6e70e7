"""Requests beyond those that the database can serve in time."""

import asyncio

import httpx
import pytest
from starlette.types import Message

from groundwork.data.database import Database
from groundwork.http.overload import Refusals
from groundwork.tests.http import ALICE, assert_problem


@pytest.fixture
def overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "overloaded", True)


@pytest.mark.usefixtures("overloaded")
class TestOverload:
    @pytest.mark.parametrize(("method", "path"), [("GET", ALICE), ("POST", ALICE), ("GET", "/docs")])
    async def test_is_answered_with_when_to_come_again(self, client: httpx.AsyncClient, method: str, path: str) -> None:
        response = await client.request(method, path)
        problem = assert_problem(response, 503)
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
        assert "is overloaded" in problem["detail"]

    @pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
    async def test_does_not_hide_the_health(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(path)).status_code == 200

    async def test_is_told_once_for_many(self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(5):
            await client.get(ALICE)
        assert [record.message for record in caplog.records] == ["overloaded: requests are refused"]

    async def test_no_refusal_waits_for_the_pace_of_the_database(self) -> None:
        """If refusals waited for a slow database, which serves one request per second, they would take 40 seconds."""
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        scope = {"type": "http", "path": ALICE}
        refusals = Refusals()
        async with asyncio.timeout(10):
            await asyncio.gather(*(refusals(scope, receive, send) for _ in range(40)))
        assert [message["status"] for message in messages if "status" in message] == [503] * 40
