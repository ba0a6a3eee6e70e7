"""Requests beyond those that the database can serve in time."""

import asyncio
import time

import httpx
import pytest

from app.core.database import Database
from tests.http import ALICE, assert_problem


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
        assert "more to do than it can do" in problem["detail"]

    @pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
    async def test_does_not_hide_the_health(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.get(path)).status_code == 200

    async def test_is_told_once_for_many(self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(5):
            await client.get(ALICE)
        assert [record.message for record in caplog.records] == ["overloaded: requests are refused"]

    async def test_leaves_the_time_to_those_who_are_served(self, client: httpx.AsyncClient) -> None:
        """However many ask, they are refused one after the other."""
        started = time.monotonic()
        responses = await asyncio.gather(*(client.get(ALICE) for _ in range(400)))
        assert {response.status_code for response in responses} == {503}
        assert time.monotonic() - started >= 0.1
