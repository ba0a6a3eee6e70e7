"""Log lines: JSON objects or plain text, the same for the service, gunicorn, uvicorn and Alembic."""

import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from groundwork.observe.current_request import current_request
from groundwork.observe.log_members import Members

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def is_json(format: str) -> bool:
    """Whether lines are JSON.

    Args:
        format: `text`, a format of `Members`, or `auto`, which means text on a terminal and JSON elsewhere.
    """
    return format != "text" and (format != "auto" or not sys.stderr.isatty())


def logging_config(level: str, format: str, members: Members | None = None) -> dict[str, Any]:
    """A configuration of all loggers for `logging.config.dictConfig`.

    Args:
        level: the level of the root logger, such as `info`.
        format: see `is_json`.
        members: the members of JSON lines.
    """
    formatter = {"()": JSONFormatter, "members": members} if is_json(format) else {"()": TextFormatter}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # Their own handlers would write every line twice. Their own access logs would log every request twice.
        "loggers": {
            "gunicorn.error": {"propagate": True, "handlers": []},
            "gunicorn.access": {"propagate": False, "handlers": []},
            "uvicorn.error": {"propagate": True, "handlers": []},
            "uvicorn.access": {"propagate": False, "handlers": []},
            # At every stop, uvicorn's "Shutting down" and "Waiting for …" repeat what gunicorn logs.
            "uvicorn": {"level": "WARNING"},
            "alembic.runtime.plugins": {"level": "WARNING"},
        },
    }


class JSONFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, the request's id, `extra`, and `traceback`."""

    def __init__(self, members: Members | None = None) -> None:
        super().__init__()
        self._members = members or Members()

    def format(self, record: logging.LogRecord) -> str:
        own = {
            "time": iso_time(record.created),
            "level": self._members.level(record.levelname),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            own["traceback"] = self.formatException(record.exc_info)
        event = self._members.renamed(own | _context(record, self._members) | own)
        try:
            return json.dumps(event, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # A key that is not text, a reference cycle, or NaN. With all values as text, the line is not lost.
            return json.dumps({name: str(value) for name, value in event.items()})


_TEXT_MEMBERS = Members()


class TextFormatter(logging.Formatter):
    """One line of text for people: time, level and message, then everything else as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        context = "".join(f" {name}={value}" for name, value in _context(record, _TEXT_MEMBERS).items())
        traceback = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{clock_time(record.created)} {record.levelname:<8}{record.getMessage()}{context}{traceback}"


def iso_time(seconds: float) -> str:
    """Unix time as ISO 8601, in UTC, with milliseconds."""
    second = int(seconds)
    return _iso_second(second) + _MILLISECONDS[int((seconds - second) * 1000)]


def clock_time(seconds: float) -> str:
    """Unix time as hours, minutes and seconds of the local time zone."""
    return _clock_second(int(seconds))


# Formatting the milliseconds would take half the time of `iso_time`.
_MILLISECONDS = [f".{milliseconds:03d}+00:00" for milliseconds in range(1000)]


# There can be thousands of lines in a second. Only the first one formats the time.
@lru_cache(maxsize=1)
def _iso_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1)
def _clock_second(second: int) -> str:
    return datetime.fromtimestamp(second).astimezone().strftime("%H:%M:%S")


def _context(record: logging.LogRecord, members: Members) -> dict[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    current = current_request.get()
    if current is None:
        return extra
    return {"request_id": current.id, **members.trace(current.span), **extra}
