"""The line that each request writes to the access log."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.data.database import Database
from groundwork.observe.access_log import AccessLog, UserHash
from groundwork.observe.current_request import CurrentRequest
from groundwork.observe.log_members import Members
from groundwork.observe.logging import JSONFormatter
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
    assert len(line.pop("user")) == len(line.pop("client")) == 12
    assert line == {
        "level": "info",
        "logger": "app.access",
        "message": "request",
        "request_id": "find-me",
        "method": "GET",
        "route": "/api/{user_id}/tasks",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 2,
        "user_agent": f"python-httpx/{httpx.__version__}",
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


async def test_the_bytes_are_those_of_the_bodies(client: httpx.AsyncClient, lines: Lines) -> None:
    body = b'{"title": "x"}'

    async def in_parts() -> AsyncIterator[bytes]:
        yield body[:5]
        yield body[5:]

    json_type = {"Content-Type": "application/json"}
    whole = await client.post(ALICE, content=body, headers=json_type)
    parts = await client.post(ALICE, content=in_parts(), headers=json_type)
    await client.head(ALICE)
    first, second, head = lines()
    assert (first["bytes_in"], first["bytes_out"]) == (len(body), len(whole.content))
    assert (second["bytes_in"], second["bytes_out"]) == (len(body), len(parts.content))
    assert (head["bytes_in"], head["bytes_out"]) == (0, 0)


@pytest.mark.parametrize(
    ("sent", "logged"),
    [(b'a"b\\', 'a"b\\'), (b"\x01\x1b[31m\x7f", "\x01\x1b[31m\x7f"), (b"\xff", "\xff"), (b"x" * 5000, "x" * 200)],
)
def test_a_user_agent_breaks_no_line(lines: Lines, sent: bytes, logged: str) -> None:
    AccessLog()(CurrentRequest("id"), "GET", "/", 0.1, {}, {b"user-agent": sent})
    (line,) = lines()
    assert line["user_agent"] == logged


def test_no_value_of_a_client_leaves_the_line_or_ascii(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    client = ('1"\x1b\u2028', 1)
    AccessLog(addresses="full")(CurrentRequest("id"), "GET", "/", 0.1, {"client": client}, {})
    text = capsys.readouterr().err
    assert text.isascii()
    assert text.removesuffix("\n").isprintable()


class TestAddresses:
    """What a line shows of the client's address."""

    @staticmethod
    def clients(lines: Lines, addresses: Any, *given: str) -> list[Any]:
        log = AccessLog(addresses=addresses, user_key="key")
        for address in given:
            log(CurrentRequest("id"), "GET", "/", 0.1, {"client": (address, 1)}, {})
        return [line.get("client") for line in lines()]

    def test_by_default_clients_are_told_apart_and_not_named(self, lines: Lines) -> None:
        first, again, other = self.clients(lines, "hash", "192.0.2.1", "192.0.2.1", "192.0.2.2")
        assert first == again == UserHash("key")("192.0.2.1") != other

    def test_they_can_be_named(self, lines: Lines) -> None:
        assert self.clients(lines, "full", "192.0.2.1", "2001:db8::1") == ["192.0.2.1", "2001:db8::1"]

    def test_they_can_be_left_out(self, lines: Lines) -> None:
        assert self.clients(lines, "off", "192.0.2.1") == [None]

    def test_what_is_remembered_is_bounded(self, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("groundwork.observe.access_log._KNOWN_LIMIT", 2)
        log = AccessLog(addresses="full")
        for number in range(9):
            log(CurrentRequest("id"), "GET", "/", 0.1, {"client": (str(number), 1)}, {})
        assert [line["client"] for line in lines()] == [str(number) for number in range(9)]
        assert len(log._clients) <= 2


class TestFormats:
    """The names that each log service recognises by itself: see docs/logs.md."""

    @staticmethod
    def line(lines: Lines, format: str, **options: Any) -> dict[str, Any]:
        members = Members(format, service="tasks", version='1.2 "%s"', **options)
        request = CurrentRequest("id", status=500)
        request.span = SimpleNamespace(trace_id="a" * 32, span_id="b" * 16)  # type: ignore[assignment]
        AccessLog(members=members)(request, "GET", "/things", 0.1, {}, {})
        (line,) = lines()
        assert datetime.fromisoformat(line[members["time"]]).tzinfo is UTC
        return line

    def test_json(self, lines: Lines) -> None:
        line = self.line(lines, "json")
        assert (line["level"], line["service"], line["version"]) == ("warning", "tasks", '1.2 "%s"')
        assert (line["trace_id"], line["span_id"]) == ("a" * 32, "b" * 16)

    @pytest.mark.parametrize(("project", "trace"), [("p", f"projects/p/traces/{'a' * 32}"), (None, "a" * 32)])
    def test_gcp(self, lines: Lines, project: str | None, trace: str) -> None:
        line = self.line(lines, "gcp", project=project)
        assert (line["severity"], line["message"]) == ("WARNING", "request")
        assert line["logging.googleapis.com/trace"] == trace
        assert line["logging.googleapis.com/spanId"] == "b" * 16

    def test_datadog(self, lines: Lines) -> None:
        line = self.line(lines, "datadog")
        assert (line["status"], line["http.status_code"]) == ("warning", 500)
        assert (line["service"], line["trace_id"], line["span_id"]) == ("tasks", "a" * 32, "b" * 16)

    def test_ecs(self, lines: Lines) -> None:
        line = self.line(lines, "ecs")
        assert (line["log.level"], line["ecs.version"], line["service.name"]) == ("warning", "8.11.0", "tasks")
        assert (line["trace.id"], line["span.id"], line["http.response.status_code"]) == ("a" * 32, "b" * 16, 500)
        # Elastic refuses a text under a name that is an object's.
        objects = {name.partition(".")[0] for name in line if "." in name}
        assert objects.isdisjoint({*line, "service", "user"} & {name for name in line if "." not in name})

    @pytest.mark.parametrize("format", ["json", "gcp", "datadog", "ecs"])
    def test_every_line_of_the_log_has_the_same_names(self, lines: Lines, format: str) -> None:
        members = Members(format, service="tasks", version="1")
        record = logging.makeLogRecord({"msg": "hello", "levelname": "WARNING", "method": "GET", "status": 500})
        other = json.loads(JSONFormatter(members).format(record))
        request = CurrentRequest("id", status=500)
        AccessLog(members=members)(request, "GET", "/things", 0.1, {}, {})
        (line,) = lines()
        assert {*other} <= {*line}
        level = members["level"]
        assert line[level] == other[level]


class TestAccessLog:
    """Which requests get a line. `write` takes a status and a duration in seconds."""

    @staticmethod
    def write(log: AccessLog, status: int = 200, seconds: float = 0.1) -> None:
        log(CurrentRequest("id", status=status), "GET", "/things", seconds, {}, {})

    def test_a_sample_is_about_its_share(self, lines: Lines) -> None:
        log = AccessLog(sample=0.25)
        for _ in range(4000):
            self.write(log)
        assert 800 < len(lines()) < 1200

    @pytest.mark.parametrize(("level", "ordinary", "remarkable"), [("INFO", 1, 2), ("WARNING", 0, 2), ("ERROR", 0, 0)])
    def test_the_level_counts(
        self, caplog: pytest.LogCaptureFixture, lines: Lines, level: str, ordinary: int, remarkable: int
    ) -> None:
        caplog.set_level(level)
        log = AccessLog()
        self.write(log)
        assert len(lines()) == ordinary
        self.write(log, status=500)
        self.write(log, seconds=0.5)
        assert len(lines()) == remarkable


class TestUserHash:
    def test_is_the_same_everywhere_with_a_key(self) -> None:
        assert UserHash("correct horse")("alice") == UserHash("correct horse")("alice") == "7e0535744fc6"
        assert UserHash("correct horse")("alice") != UserHash("battery staple")("alice")

    def test_cannot_be_found_by_trying_without_one(self) -> None:
        assert UserHash(None)("alice") != UserHash(None)("alice")

    @pytest.mark.parametrize("user_id", ["\ud800", "a\0b", "x" * 255])
    def test_takes_any_text(self, user_id: str) -> None:
        assert len(UserHash(None)(user_id)) == 12
