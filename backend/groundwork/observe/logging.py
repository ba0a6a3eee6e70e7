"""Log lines: JSON objects or plain text, the same for the service, gunicorn, uvicorn and Alembic."""

import json
import logging
import sys
from typing import Any

from groundwork.observe.log_members import Members, context_of
from groundwork.observe.log_times import iso_time

# The name of a module, which a service that logs JSON does not import.
_FOR_PEOPLE = "groundwork.observe.text_log"


def is_json(format: str) -> bool:
    """Whether lines are JSON.

    Args:
        format: `text`, a format of `Members`, or `auto`, which means text on a terminal and JSON elsewhere.
    """
    return format != "text" and (format != "auto" or not sys.stderr.isatty())


def log_uncaught(*error: Any) -> None:
    """A `sys.excepthook`: the log writes the error that ends the program as it writes others. Ctrl-C is none."""
    if error[0] is not KeyboardInterrupt:
        logging.getLogger("app").error("an error ends the program", exc_info=error)


def logging_config(level: str, format: str, members: Members | None = None) -> dict[str, Any]:
    """A configuration of all loggers for `logging.config.dictConfig`.

    Args:
        level: the level of the root logger, such as `info`.
        format: see `is_json`.
        members: the members of JSON lines.
    """
    json_lines = is_json(format)
    formatter = {"()": JSONFormatter, "members": members} if json_lines else {"()": f"{_FOR_PEOPLE}.TextFormatter"}
    filters = {} if json_lines else {"without_start": {"()": f"{_FOR_PEOPLE}.WithoutStart"}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": filters,
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": [*filters]}},
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
        event = self._members.renamed(own | context_of(record, self._members) | own)
        try:
            return json.dumps(event, default=str, allow_nan=False)
        except (TypeError, ValueError):
            # A key that is not text, a reference cycle, or NaN. With all values as text, the line is not lost.
            return json.dumps({name: str(value) for name, value in event.items()})
