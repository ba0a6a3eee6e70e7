"""The line that each request writes to the access log."""

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.data.database import Database
from groundwork.observe.access_log import AccessLog, UserHash
from groundwork.observe.current_request import CurrentRequest
from groundwork.serve.application import Application
from groundwork.testing.http import client_of
from groundwork.tests.http import ALICE

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Lines:
    """A function that returns the access log's new lines."""
    caplog.set_level(logging.INFO)
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"log_format": "json"})


async def test_it_says_where_the_time_went_and_whose_request_it_was(client: httpx.AsyncClient, lines: Lines) -> None:
    await client.get(ALICE, headers={"X-Request-ID": "find-me"})
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    duration, database, wait = line.pop("duration_ms"), line.pop("database_ms"), line.pop("pool_wait_ms")
    assert 0 < database < duration
    assert 0 < wait < duration  # the first request opens the connection
    assert len(line.pop("user")) == 12
    assert line == {
        "level": "info",
        "logger": "app.access",
        "message": "request",
        "request_id": "find-me",
        "method": "GET",
        "route": "/api/{user_id}/tasks",
        "status": 200,
    }


async def test_the_database_has_the_time_of_all_statements(client: httpx.AsyncClient, lines: Lines) -> None:
    await client.post(ALICE, json={"title": "x"})
    await client.post(ALICE, json={"title": "x"}, headers={"Idempotency-Key": '"1"'})
    one, several = lines()
    assert 0 < one["database_ms"] < one["duration_ms"]
    assert 0 < several["database_ms"] < several["duration_ms"]
    assert several["pool_wait_ms"] == 0


@pytest.mark.parametrize("path", ["/health/live", "/unknown", "/openapi.json"])
async def test_a_request_of_nobody_names_nobody(client: httpx.AsyncClient, lines: Lines, path: str) -> None:
    await client.get(path)
    (line,) = lines()
    assert (line["user"], line["database_ms"]) == ("", 0)


async def test_users_are_told_apart_and_not_named(client: httpx.AsyncClient, lines: Lines) -> None:
    for user in ("alice", "alice", "bob", "%F0%9F%91%8B"):
        await client.get(f"/api/{user}/tasks")
    first, second, bob, wave = (line["user"] for line in lines())
    assert first == second
    assert len({first, bob, wave}) == 3


@pytest.mark.usefixtures("app")
async def test_a_request_that_takes_long_is_marked(settings: Settings, app: Application, lines: Lines) -> None:
    slow = create_app(settings.model_copy(update={"slow_request_seconds": 1e-6, "access_log_sample": 0}))
    slow.database = app.database
    async with client_of(slow) as client:
        await client.get(ALICE)
    (line,) = lines()
    assert (line["slow"], line["level"]) == (True, "warning")


async def test_ordinary_requests_can_be_left_out(
    settings: Settings, app: Application, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = create_app(settings.model_copy(update={"access_log_sample": 0}))
    silent.database = app.database
    async with client_of(silent) as client:
        assert (await client.get(ALICE)).status_code == 200
        assert (await client.get("/unknown")).status_code == 404
        assert lines() == []
        monkeypatch.setattr(Database, "overloaded", True)
        assert (await client.get(ALICE)).status_code == 503
        (line,) = lines()
    assert (line["status"], line["level"]) == (503, "warning")


class TestAccessLog:
    """Which requests get a line. `write` takes a status and a duration in seconds."""

    @staticmethod
    def write(log: AccessLog, status: int = 200, seconds: float = 0.1) -> None:
        log(CurrentRequest("id"), "GET", "/things", status, seconds, None)

    def test_a_sample_is_about_its_share(self, lines: Lines) -> None:
        log = AccessLog(json=True, sample=0.25)
        for _ in range(4000):
            self.write(log)
        assert 800 < len(lines()) < 1200

    @pytest.mark.parametrize(("level", "ordinary", "remarkable"), [("INFO", 1, 2), ("WARNING", 0, 2), ("ERROR", 0, 0)])
    def test_the_level_counts(
        self, caplog: pytest.LogCaptureFixture, lines: Lines, level: str, ordinary: int, remarkable: int
    ) -> None:
        caplog.set_level(level)
        log = AccessLog(json=True)
        self.write(log)
        assert len(lines()) == ordinary
        self.write(log, status=500)
        self.write(log, seconds=0.5)
        assert len(lines()) == remarkable

    def test_text_says_the_same(self, lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
        self.write(AccessLog(json=False), seconds=1.5)
        assert capsys.readouterr().err[9:] == (
            "WARNING request request_id=id method=GET route=/things status=200 duration_ms=1500.00 database_ms=0.00"
            " pool_wait_ms=0.00 user= slow=true\n"
        )


class TestUserHash:
    def test_is_the_same_everywhere_with_a_key(self) -> None:
        assert UserHash("correct horse")("alice") == UserHash("correct horse")("alice") == "7e0535744fc6"
        assert UserHash("correct horse")("alice") != UserHash("battery staple")("alice")

    def test_cannot_be_found_by_trying_without_one(self) -> None:
        assert UserHash(None)("alice") != UserHash(None)("alice")

    @pytest.mark.parametrize("user_id", ["\ud800", "a\0b", "x" * 255])
    def test_takes_any_text(self, user_id: str) -> None:
        assert len(UserHash(None)(user_id)) == 12
