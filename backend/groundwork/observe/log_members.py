"""The names of the members of a JSON line. Each log service understands names of its own: see docs/logs.md."""

import logging
from json import dumps
from typing import Any, Final

from groundwork.observe.current_request import current_request

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_FORMATS: Final = ("gcp", "datadog", "ecs")
# The names of each member in these formats. In `json`, a member has the name on the left.
# Datadog would take a member `status` for the line's level. Elastic would refuse a text in `service` or `user`, because
# these are objects there: https://www.elastic.co/docs/reference/ecs
_NAMES: Final = {
    "time": ("time", "timestamp", "@timestamp"),
    "level": ("severity", "status", "log.level"),
    "logger": ("logger", "logger.name", "log.logger"),
    "service": ("service", "service", "service.name"),
    "version": ("version", "version", "service.version"),
    "trace_id": ("logging.googleapis.com/trace", "trace_id", "trace.id"),
    "span_id": ("logging.googleapis.com/spanId", "span_id", "span.id"),
    "traceback": ("stack_trace", "error.stack", "error.stack_trace"),
    "request_id": ("request_id", "http.request_id", "http.request.id"),
    "method": ("method", "http.method", "http.request.method"),
    "status": ("status", "http.status_code", "http.response.status_code"),
    "user": ("user", "usr.id", "user.hash"),
    "client": ("client", "network.client.ip", "client.address"),
    "user_agent": ("user_agent", "http.useragent", "user_agent.original"),
    "bytes_in": ("bytes_in", "network.bytes_read", "http.request.body.bytes"),
    "bytes_out": ("bytes_out", "network.bytes_written", "http.response.body.bytes"),
}


class Members:
    """The names of a line's members, and the members that are the same in every line.

    Args:
        format: `json`, `gcp`, `datadog` or `ecs`.
        service, version: what is running; None is left out.
        project: Google Cloud's project. Its log finds a trace by the project and the id.
    """

    def __init__(
        self,
        format: str = "json",
        *,
        service: str | None = None,
        version: str | None = None,
        project: str | None = None,
    ) -> None:
        place = _FORMATS.index(format) if format in _FORMATS else None
        self._names = {} if place is None else {name: names[place] for name, names in _NAMES.items()}
        self._is_upper = format == "gcp"
        self.trace_prefix = f"projects/{project}/traces/" if format == "gcp" and project else ""
        constant = {"service": service, "version": version, "ecs.version": "8.11.0" if format == "ecs" else None}
        self.constant = {self[name]: value for name, value in constant.items() if value}

    def __getitem__(self, name: str) -> str:
        """What a member is called in this format."""
        return self._names.get(name, name)

    def level(self, name: str) -> str:
        """A level such as `INFO`, as this format writes it."""
        return name if self._is_upper else name.lower()

    def trace(self, span: Any) -> dict[str, str]:
        """The members that name a request's span."""
        return {"trace_id": f"{self.trace_prefix}{span.trace_id}", "span_id": span.span_id} if span else {}

    def renamed(self, event: dict[str, Any]) -> dict[str, Any]:
        """All members of a line, under the names of this format."""
        return {self[name]: value for name, value in event.items()} | self.constant


def context_of(record: logging.LogRecord, members: Members) -> dict[str, Any]:
    """The request's id and trace, and the `extra` of the record."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    current = current_request.get()
    if current is None:
        return extra
    return {"request_id": current.id, **members.trace(current.span), **extra}


def escaped(text: str) -> str:
    """The text as it stands in a JSON string, in ASCII and without control characters."""
    return dumps(text)[1:-1]
