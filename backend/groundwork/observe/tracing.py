"""Traces: a span for each request and for each of its statements, sent to a collector by OpenTelemetry's SDK.

Imported only where traces are on: the SDK and its exporter take 5 MB, and a quarter more time to start.

FastAPI's own support is not used. It costs each request that is not sampled more than the 5 % of its CPU that traces
may cost, because it asks for the sampler's decision last; and its spans hold the path and the query, which name users.
Here the decision comes first, and what is not sampled has no span. The SDK's variables (`OTEL_…`) all count.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from groundwork.observe.current_request import SERVER_ERROR
from groundwork.observe.metrics import METHODS, OTHER

FLUSH_SECONDS = 1.0
"""How long a worker's end may wait for its last spans: as long as gunicorn lets it after its last request."""
COMPLAINT_SECONDS = 60.0

_NO_PARENT = Context()
# What an unsampled request's code sees: a parent that is not sampled, so that spans of its own are not either.
_NOT_SAMPLED = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(RandomIdGenerator().generate_trace_id(), 1, is_remote=False)), _NO_PARENT
)
_NOT_SAMPLED_BY_CALLER = b"-00"
_propagator = TraceContextTextMapPropagator()


class Tracing:
    """An async context manager, to be entered in the worker: the thread that sends would not survive the fork.

    Args:
        variables: of the environment and of `.env`; those of the SDK begin with `OTEL_`.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        _set_sdk_variables(variables)
        self._ids = _DrawnIds()
        self._provider = TracerProvider(shutdown_on_exit=False, id_generator=self._ids)
        self._sampler = self._provider.sampler
        self._follows_callers = isinstance(self._sampler, ParentBased)
        self._trace_id_bound = _trace_id_bound(self._sampler)
        self._tracer = self._provider.get_tracer("app")

    async def __aenter__(self) -> Self:
        once_per_minute = _OncePerMinute()
        for name in (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal"):
            logging.getLogger(name).addFilter(once_per_minute)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        # For spans that services make.
        trace.set_tracer_provider(self._provider)
        return self

    async def __aexit__(self, *exception: object) -> None:
        # The SDK would wait for half a minute for a collector that is away.
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)

    def begin(self, scope: Any, headers: dict[bytes, bytes], request_id: str) -> "RequestSpan | None":
        """The request's span, if it is sampled: as its caller says in `traceparent`, else as the sampler does."""
        method = scope["method"] if scope["method"] in METHODS else OTHER
        parent = self._sampled_parent(headers, method)
        if parent is None:
            context.attach(_NOT_SAMPLED)
            return None
        attributes = {
            "http.request.method": method,
            "http.response.header.x-request-id": (request_id,),
            "network.protocol.version": scope["http_version"],
            "url.scheme": scope["scheme"],
        }
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, attributes)
        context.attach(trace.set_span_in_context(span, parent))
        return RequestSpan(self._tracer, span, "HTTP" if method == OTHER else method)

    def _sampled_parent(self, headers: dict[bytes, bytes], name: str) -> Context | None:
        """None where there shall be no span.

        The SDK asks the same sampler when it makes a span; to ask first costs a third of making one that is not sent.
        """
        caller = headers.get(b"traceparent", b"")
        if caller.endswith(_NOT_SAMPLED_BY_CALLER) and self._follows_callers:
            return None
        if not caller and self._trace_id_bound is not None:
            return _NO_PARENT if self._ids.draw() & TraceIdRatioBased.TRACE_ID_LIMIT < self._trace_id_bound else None
        parent = _extract(caller, headers) if caller else _NO_PARENT
        known = trace.get_current_span(parent).get_span_context()
        trace_id = known.trace_id if known.is_valid else self._ids.draw()
        decision = self._sampler.should_sample(parent, trace_id, name).decision
        return parent if decision is Decision.RECORD_AND_SAMPLE else None


class RequestSpan:
    """A sampled request's span."""

    def __init__(self, tracer: trace.Tracer, span: Span, method: str) -> None:
        self._tracer = tracer
        self._span = span
        self._method = method
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def statement(self, sql: str, seconds: float, error: BaseException | None) -> None:
        """A statement that has just ended. Its text holds no values, and errors' texts do: they are left out."""
        end = time.time_ns()
        operation = sql.split(maxsplit=1)[0]
        attributes = {"db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": sql}
        start = end - int(seconds * 1_000_000_000)
        span = self._tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes, start_time=start)
        if error is not None:
            state = getattr(error, "sqlstate", None)
            if state:
                span.set_attribute("db.response.status_code", state)
            span.set_attribute("error.type", state or type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def end(self, route: str, status: int) -> None:
        """The request's end; see `RequestMiddleware` for the status."""
        if route:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if not status or status >= SERVER_ERROR:
            self._span.set_attribute("error.type", str(status) if status else "no answer")
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _set_sdk_variables(variables: Mapping[str, str]) -> None:
    """Put what the start has checked where the SDK looks: it reads the environment, as it stands."""
    for name in {*os.environ, *variables}:
        if name.startswith("OTEL_"):
            os.environ.pop(name, None)
            os.environ.update({name: variables[name]} if name in variables else {})


def _trace_id_bound(sampler: Sampler) -> int | None:
    """Below which a root's id is sampled, where the share alone decides: to ask the SDK costs five times the rest."""
    root = getattr(sampler, "_root", sampler)
    return root.bound if isinstance(root, TraceIdRatioBased) else None


class _DrawnIds(RandomIdGenerator):
    """Gives the next trace the id that was drawn for it, because samplers decide by it."""

    _drawn: int | None = None

    def draw(self) -> int:
        self._drawn = super().generate_trace_id()
        return self._drawn

    def generate_trace_id(self) -> int:
        drawn, self._drawn = self._drawn, None
        return drawn or super().generate_trace_id()


class _OncePerMinute(logging.Filter):
    """One complaint of a collector that is away, or too slow, each minute; the SDK has several for each attempt."""

    _again = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._again:
            return False
        self._again = now + COMPLAINT_SECONDS
        return True


def _extract(caller: bytes, headers: dict[bytes, bytes]) -> Context:
    """The caller's context; that of a root where what it sent cannot be read."""
    state = headers.get(b"tracestate", b"")
    carrier = {"traceparent": caller.decode("latin-1"), "tracestate": state.decode("latin-1")}
    return _propagator.extract(carrier, _NO_PARENT)
