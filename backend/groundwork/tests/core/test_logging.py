import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from groundwork.observe.current_request import CurrentRequest, current_request
from groundwork.observe.logging import JSONFormatter, logging_config
from groundwork.observe.text_log import TextFormatter


class Log:
    """A logger of this test only, and its output."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        handler = logging.StreamHandler(self._stream)
        handler.setFormatter(formatter)
        self.logger = logging.Logger("app.test")
        self.logger.addHandler(handler)

    def lines(self) -> list[str]:
        # A collector splits lines only at line feeds; str.splitlines splits at other characters too.
        return self._stream.getvalue().removesuffix("\n").split("\n")

    def event(self) -> dict[str, Any]:
        (line,) = self.lines()
        assert len(line.splitlines()) == 1
        event: dict[str, Any] = json.loads(line)
        return event


@pytest.fixture
def log() -> Log:
    return Log(JSONFormatter())


@pytest.fixture
def text_log() -> Log:
    return Log(TextFormatter())


@pytest.fixture(autouse=True)
def errors_in_logging_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(_handler: logging.Handler, _record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - logging calls this while it handles the exception

    monkeypatch.setattr(logging.Handler, "handleError", raise_it)


@pytest.fixture
def in_request() -> Iterator[str]:
    token = current_request.set(CurrentRequest("request-1"))
    yield "request-1"
    current_request.reset(token)


def test_a_line_is_one_json_object(log: Log) -> None:
    log.logger.warning("hello %s", "größe")
    event = log.event()
    assert event.pop("time").endswith("+00:00")
    assert event == {"level": "warning", "logger": "app.test", "message": "hello größe"}


def test_every_line_of_a_request_carries_its_id(log: Log, in_request: str) -> None:
    log.logger.info("served")
    assert log.event()["request_id"] == in_request


def test_extras_are_members(log: Log, in_request: str) -> None:
    log.logger.info("served", extra={"status": 200, "nested": {"a": [1, None]}})
    event = log.event()
    assert (event["status"], event["nested"], event["request_id"]) == (200, {"a": [1, None]}, in_request)


def test_a_traceback_stays_on_the_line(log: Log) -> None:
    try:
        int("line\nline")
    except ValueError:
        log.logger.exception("failed")
    event = log.event()
    assert event["message"] == "failed"
    assert event["traceback"].startswith("Traceback (most recent call last):\n")
    assert event["traceback"].endswith("ValueError: invalid literal for int() with base 10: 'line\\nline'")


@pytest.mark.parametrize(
    "text", ["line\nline\r\n", "\u2028\u2029\x85\v\f", "\x00\x1b[31m", '"quoted" \\', "\ud800 lone", "👋"]
)
def test_no_text_breaks_the_line(log: Log, text: str) -> None:
    log.logger.info(text, extra={"text": text})
    event = log.event()
    assert (event["message"], event["text"]) == (text, text)


@pytest.mark.parametrize("text", ["\ud800 lone", "größe"])
def test_a_stream_of_any_encoding_takes_the_line(text: str) -> None:
    raw = io.BytesIO()
    handler = logging.StreamHandler(io.TextIOWrapper(raw, encoding="ascii"))
    handler.setFormatter(JSONFormatter())
    handler.handle(logging.makeLogRecord({"msg": text}))
    assert json.loads(raw.getvalue())["message"] == text


class Opaque:
    def __str__(self) -> str:
        return "opaque"


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Opaque(), "opaque"),
        ({1}, "{1}"),
        (b"\xff", "b'\\xff'"),
        ({("a", 1): "tuple as key"}, "{('a', 1): 'tuple as key'}"),
        (CIRCULAR, "[[...]]"),
        (float("nan"), "nan"),
    ],
    ids=["object", "set", "bytes", "key", "circle", "NaN"],
)
def test_a_value_that_json_does_not_know_is_shown_as_text(log: Log, value: Any, shown: str) -> None:
    log.logger.info("hello", extra={"value": value})
    event = log.event()
    assert event["message"] == "hello"
    assert event["value"] == shown


def test_extras_do_not_replace_what_the_line_says_itself(log: Log) -> None:
    log.logger.info("hello", extra={"level": "x", "time": "x", "logger": "x"})
    event = log.event()
    assert (event["level"], event["logger"]) == ("info", "app.test")
    assert event["time"] != "x"


def test_text_is_for_people(text_log: Log, in_request: str) -> None:
    text_log.logger.warning("hello %s", "you", extra={"status": 200})
    (line,) = text_log.lines()
    assert line.endswith("WARNING hello you request_id=request- status=200")


def test_text_shows_the_traceback_below(text_log: Log) -> None:
    try:
        int("why")
    except ValueError:
        text_log.logger.exception("failed")
    first, second, *_, last = text_log.lines()
    assert first.endswith("ERROR   failed")
    assert second == "Traceback (most recent call last):"
    assert last.startswith("ValueError: ")


@pytest.mark.parametrize(
    ("format", "terminal", "formatter"),
    [
        ("json", True, JSONFormatter),
        ("text", False, "groundwork.observe.text_log.TextFormatter"),
        ("auto", True, "groundwork.observe.text_log.TextFormatter"),
        ("auto", False, JSONFormatter),
    ],
)
def test_the_format_is_chosen(monkeypatch: pytest.MonkeyPatch, format: str, terminal: bool, formatter: object) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    config = logging_config("warning", format)
    assert config["formatters"]["line"]["()"] == formatter
    assert config["root"]["level"] == "WARNING"


@pytest.mark.parametrize(("format", "message"), [("json", '"message": "booting"'), ("text", "WARNING booting")])
def test_the_configuration_is_one_that_logging_takes(
    monkeypatch: pytest.MonkeyPatch, format: str, message: str
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        logging.config.dictConfig(logging_config("info", format))
        logging.getLogger("gunicorn.error").warning("booting")
        logging.getLogger("uvicorn.access").info("GET /")
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    (line,) = stream.getvalue().splitlines()
    assert message in line
