"""Traces: OpenTelemetry's SDK sends a span for each sampled request, and for each of its statements, to a collector.

Import this module only if traces are on: the SDK and its exporter take 5 MB, and make the start a quarter longer.

FastAPI's own support for OpenTelemetry is not used, for two reasons. First, it asks the sampler last, so a request that
is not sampled costs over 5 % more CPU time. Here the sampler decides first. Second, FastAPI's spans contain the path
and the query, which name users. All variables of the SDK (`OTEL_…`) apply.
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
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from groundwork.observe.metrics import METHODS, OTHER, SERVER_ERROR

FLUSH_SECONDS = 1.0
"""How long a worker that ends may wait for its last spans. gunicorn gives it this time after its last request."""
COMPLAINT_SECONDS = 60.0
"""The shortest time between two warnings about a collector that is away."""

_NO_PARENT = Context()
# The parent of a service's own spans in a request that is not sampled. So these spans are not sampled either.
_NOT_SAMPLED = trace.set_span_in_context(
    NonRecordingSpan(SpanContext(RandomIdGenerator().generate_trace_id(), 1, is_remote=False)), _NO_PARENT
)
_NOT_SAMPLED_BY_CALLER = b"-00"
_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Makes and sends spans while its context is entered. Enter it in the worker: its thread would not survive a fork.

    Args:
        variables: the variables of the environment and of `.env`. The SDK reads those that begin with `OTEL_`.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        _set_sdk_variables(variables)
        self._ids = _DrawnIds()
        self._provider = TracerProvider(shutdown_on_exit=False, id_generator=self._ids)
        self._sampler = self._provider.sampler
        self._follows_callers = isinstance(self._sampler, ParentBased)
        # The bound below which a trace id is sampled; None for a sampler that decides by more than the id. Comparing
        # with the bound costs a fifth of asking the SDK's sampler.
        root = getattr(self._sampler, "_root", self._sampler)
        self._trace_id_bound = root.bound if isinstance(root, TraceIdRatioBased) else None
        self._tracer = self._provider.get_tracer("app")

    async def __aenter__(self) -> Self:
        once_per_minute = _OncePerMinute()
        for name in (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal"):
            logging.getLogger(name).addFilter(once_per_minute)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        # So a service can make spans of its own.
        trace.set_tracer_provider(self._provider)
        return self

    async def __aexit__(self, *exception: object) -> None:
        # The SDK would wait half a minute for a collector that is away.
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)

    def begin(self, scope: Any, headers: dict[bytes, bytes], request_id: str) -> "RequestSpan | None":
        """The request's span; None if the request is not sampled.

        The caller's `traceparent` (W3C Trace Context) can decide about sampling; otherwise the sampler does.
        """
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
        """The context of the span's parent; None if the request is not sampled.

        The SDK asks the same sampler again when it makes a span. Asking first costs a third of making a span that is
        not sent.
        """
        caller = headers.get(b"traceparent", b"")
        if caller.endswith(_NOT_SAMPLED_BY_CALLER) and self._follows_callers:
            return None
        if not caller and self._trace_id_bound is not None:
            return _NO_PARENT if self._ids.draw() & TraceIdRatioBased.TRACE_ID_LIMIT < self._trace_id_bound else None
        parent = _NO_PARENT
        if caller:  # the context of a new trace if it is not valid
            carrier = {name: headers.get(name.encode(), b"").decode("latin-1") for name in _propagator.fields}
            parent = _propagator.extract(carrier, _NO_PARENT)
        known = trace.get_current_span(parent).get_span_context()
        trace_id = known.trace_id if known.is_valid else self._ids.draw()
        decision = self._sampler.should_sample(parent, trace_id, name).decision
        return parent if decision is Decision.RECORD_AND_SAMPLE else None


class RequestSpan:
    """The span of a sampled request."""

    def __init__(self, tracer: trace.Tracer, span: Span, method: str) -> None:
        self._tracer = tracer
        self._span = span
        self._method = method
        known = span.get_span_context()
        self.trace_id, self.span_id = f"{known.trace_id:032x}", f"{known.span_id:016x}"

    def statement(self, sql: str, seconds: float, error: BaseException | None) -> None:
        """Record a statement that has just ended.

        Args:
            sql: the statement's text, without values.
            error: the exception that the statement raised, if any. Its message is left out, because it contains values.
        """
        end = time.time_ns()
        operation = sql.split(maxsplit=1)[0]
        attributes = {"db.system.name": "postgresql", "db.operation.name": operation, "db.query.text": sql}
        start = end - int(seconds * 1_000_000_000)
        span = self._tracer.start_span(operation, kind=SpanKind.CLIENT, attributes=attributes, start_time=start)
        if error is not None:
            if state := getattr(error, "sqlstate", None):
                span.set_attribute("db.response.status_code", state)
            span.set_attribute("error.type", state or type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def end(self, route: str, status: int) -> None:
        """Record the end of the request.

        Args:
            route: the route's template; "" if no route matched.
            status: the response's status; 0 if there was no response.
        """
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
    """Copy the variables to the environment of the process, where the SDK reads them."""
    for name in {*os.environ, *variables}:
        if name.startswith("OTEL_"):
            os.environ.pop(name, None)
            os.environ.update({name: variables[name]} if name in variables else {})


class _DrawnIds(RandomIdGenerator):
    """Draws a trace id before its span is made, because the sampler decides by the id."""

    _drawn: int | None = None

    def draw(self) -> int:
        self._drawn = super().generate_trace_id()
        return self._drawn

    def generate_trace_id(self) -> int:
        drawn, self._drawn = self._drawn, None
        return drawn or super().generate_trace_id()


class _OncePerMinute(logging.Filter):
    """Lets one warning of the exporter through each minute. The SDK logs several for each attempt that fails."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + COMPLAINT_SECONDS
        return True
