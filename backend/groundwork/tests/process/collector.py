"""A collector of traces on loopback. It receives what any collector for OTLP over HTTP receives."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVER, CLIENT = 2, 3
ERROR = 2


class Span(NamedTuple):
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    status: int
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """`spans` are the spans that have arrived. `status` is the status of its answers."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests = 0
        self.status = 200
        self.wait_seconds = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                time.sleep(collector.wait_seconds)
                if collector.status == 200:
                    collector.spans += _spans(body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def of(self, trace_id: str) -> list[Span]:
        """The spans of one trace: the request's span, then those of its statements in their order."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.kind)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator["Collector"]:
        thread = Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _spans(body: bytes) -> Iterator[Span]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for scope in of_resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.kind,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.status.code,
                    (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    _attributes(span.attributes),
                    resource,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
