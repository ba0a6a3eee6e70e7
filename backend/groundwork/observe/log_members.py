"""What the members of a JSON line are called. Each service that keeps logs reads some names by itself: docs/logs.md."""

from typing import Any, Final

# The names of each format that differ from those of `json`.
_NAMES: Final[dict[str, dict[str, str]]] = {
    "gcp": {
        "level": "severity",
        "trace_id": "logging.googleapis.com/trace",
        "span_id": "logging.googleapis.com/spanId",
        "traceback": "stack_trace",
    },
    "datadog": {
        "time": "timestamp",
        "level": "status",
        "logger": "logger.name",
        "traceback": "error.stack",
        "request_id": "http.request_id",
        "method": "http.method",
        # Datadog would take a member `status` for the line's level.
        "status": "http.status_code",
        "user": "usr.id",
        "client": "network.client.ip",
        "user_agent": "http.useragent",
        "bytes_in": "network.bytes_read",
        "bytes_out": "network.bytes_written",
    },
    # https://www.elastic.co/docs/reference/ecs. It would refuse a text in `service` or `user`, which are objects there.
    "ecs": {
        "time": "@timestamp",
        "level": "log.level",
        "logger": "log.logger",
        "service": "service.name",
        "version": "service.version",
        "trace_id": "trace.id",
        "span_id": "span.id",
        "traceback": "error.stack_trace",
        "request_id": "http.request.id",
        "method": "http.request.method",
        "status": "http.response.status_code",
        "user": "user.hash",
        "client": "client.address",
        "user_agent": "user_agent.original",
        "bytes_in": "http.request.body.bytes",
        "bytes_out": "http.response.body.bytes",
    },
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
        self._names = _NAMES.get(format, {})
        self._is_upper = format == "gcp"
        self.trace_prefix = f"projects/{project}/traces/" if format == "gcp" and project else ""
        constant = {"service": service, "version": version, "ecs.version": "8.11.0" if format == "ecs" else None}
        self.constant = {self.name(name): value for name, value in constant.items() if value}

    def name(self, name: str) -> str:
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
        return {self.name(name): value for name, value in event.items()} | self.constant
