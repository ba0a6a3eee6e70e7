"""Logs: one JSON object a line, or plain text on a terminal, from the service, gunicorn, uvicorn and Alembic alike."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being served; every line logged meanwhile carries it."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def logging_config(level: str, format: str) -> dict[str, Any]:
    """A `logging.config.dictConfig` for the process. `format` is json, text, or auto: text on a terminal."""
    if format == "auto":
        format = "text" if sys.stderr.isatty() else "json"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": JSONFormatter if format == "json" else TextFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # Their own handlers would print every line twice, their own access logs every request twice.
        "loggers": {
            "gunicorn.error": {"propagate": True, "handlers": []},
            "gunicorn.access": {"propagate": False, "handlers": []},
            "uvicorn.error": {"propagate": True, "handlers": []},
            "uvicorn.access": {"propagate": False, "handlers": []},
            # "Shutting down" and "Waiting for …" at every stop say nothing that gunicorn does not.
            "uvicorn": {"level": "WARNING"},
            "alembic.runtime.plugins": {"level": "WARNING"},
        },
    }


class JSONFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, the request's id, what `extra` holds, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        own = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            own["traceback"] = self.formatException(record.exc_info)
        event = own | _context(record) | own
        try:
            return json.dumps(event, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # A key that is no text, a circle, or NaN: better all as text than no line.
            return json.dumps({name: str(value) for name, value in event.items()})


class TextFormatter(logging.Formatter):
    """The same for people: time, level, message, then the rest as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        context = "".join(f" {name}={value}" for name, value in _context(record).items())
        traceback = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{time} {record.levelname:<8}{record.getMessage()}{context}{traceback}"


def _context(record: logging.LogRecord) -> dict[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    current = request_id.get()
    return {"request_id": current, **extra} if current else extra
