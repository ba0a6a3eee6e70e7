"""The metrics in Prometheus' format, on a port of their own.

Series that alerts count are reported as 0 from the start, because Prometheus sees no increase in a series that begins
at 1.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any

from fastapi.routing import APIRoute, iter_route_contexts
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from groundwork.http.problems import problem
from groundwork.observe import custom_metrics, metrics
from groundwork.observe.metrics import Counts, Labels, Totals
from groundwork.observe.process import container_memory

_PATH = "/metrics"
# The classes that alerts ask for, and those that a defect in a statement causes.
_SQLSTATE_CLASSES = ("08", "22", "23", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58", "XX")
_ERROR_CLASSES = (*_SQLSTATE_CLASSES, metrics.TIMED_OUT, metrics.LOST)
_NONE = [0.0] * metrics.SERIES_COUNTS
# The metrics without labels: type, name, description, and place among the counts.
_NUMBERS: tuple[tuple[Any, str, str, int], ...] = (
    (GaugeMetricFamily, "http_requests_in_flight", "Requests that are being served.", metrics.IN_FLIGHT),
    (CounterMetricFamily, "http_requests_shed", "Requests refused with 503 because of overload.", metrics.SHED),
    (CounterMetricFamily, "log_lines_lost", "Lines of the log that could not be written.", metrics.LOG_LINES_LOST),
    (GaugeMetricFamily, "database_pool_size", "Connections that the pools may have.", metrics.POOL_SIZE),
    (GaugeMetricFamily, "database_pool_waiting", "Requests that wait for a connection.", metrics.POOL_WAITING),
    (GaugeMetricFamily, "process_resident_memory_bytes", "Memory of all workers.", metrics.RESIDENT_BYTES),
    (CounterMetricFamily, "process_cpu_seconds", "CPU time of all workers.", metrics.CPU_SECONDS),
    (GaugeMetricFamily, "workers", "Workers that run.", metrics.WORKERS),
)
_POOL_STATES = {"in_use": metrics.POOL_IN_USE, "idle": metrics.POOL_IDLE, "opening": metrics.POOL_OPENING}


class ServiceCollector(Collector):
    """What this process and its workers have counted, as prometheus-client asks for it.

    Args:
        version, revision: what is running.
        routes: returns the service's routes; called at the first scrape.
    """

    def __init__(
        self, counts: Counts, version: str, revision: str, routes: Callable[[], list[BaseRoute]] = list
    ) -> None:
        self._counts = counts
        self._routes = routes
        self._build = {"version": version, "revision": revision, "python": platform.python_version()}

    def collect(self) -> Iterable[Metric]:
        totals = self._counts.totals()
        for labels in self._expected:
            totals.labelled.setdefault(labels, _NONE)
        for kind, name, description, place in _NUMBERS:
            yield kind(name, description, totals.fixed[place])
        yield CounterMetricFamily("worker_restarts", "Workers started after the first ones.", totals.restarts)
        connections = GaugeMetricFamily("database_pool_connections", "Connections to the database.", labels=["state"])
        for state, place in _POOL_STATES.items():
            connections.add_metric([state], totals.fixed[place])
        yield connections
        build = GaugeMetricFamily("build_info", "What is running.", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build
        yield from _limits(self._counts)
        yield from _own(totals)
        yield from _custom(totals)

    @cached_property
    def _expected(self) -> list[Labels]:
        return [*_failures(self._routes()), *((metrics.DATABASE_ERROR, class_) for class_ in _ERROR_CLASSES)]


class MetricsEndpoint(ServiceCollector):
    """An ASGI application: `GET /metrics` reports what all workers have counted."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != _PATH or scope.get("method") not in ("GET", "HEAD"):
            await problem(404, "Only GET /metrics is served here.")(scope, receive, send)
            return
        encode, content_type = choose_encoder(dict(scope["headers"]).get(b"accept", b"").decode("latin-1"))
        await Response(encode(self), media_type=content_type)(scope, receive, send)


def _failures(routes: list[BaseRoute]) -> Iterator[Labels]:
    """The series of each operation's 500 and 503, and of each method's requests that were shed before routing."""
    found = [each for each in iter_route_contexts(routes) if isinstance(each.original_route, APIRoute)]
    operations = {(method, each.path_format or "") for each in found for method in each.methods or ()}
    operations |= {("HEAD", path) for method, path in operations if method == "GET"}
    for method, route in operations:
        yield metrics.REQUEST, method, "", "503"
        for status in ("500", "503"):
            yield metrics.REQUEST, method, route, status


def _limits(counts: Counts) -> Iterator[Metric]:
    """The metrics that exist only if the container has a memory limit, or if sign-in is on."""
    if memory := container_memory():
        yield GaugeMetricFamily("process_container_memory_bytes", "Memory that the container uses.", memory[0])
        yield GaugeMetricFamily("process_container_memory_limit_bytes", "Memory that the container may use.", memory[1])
    if oldest := counts.oldest(metrics.KEYS_TIME):
        description = "When the oldest issuer keys among the workers were fetched."
        yield GaugeMetricFamily("worker_issuer_keys_timestamp_seconds", description, oldest)


def _own(totals: Totals) -> Iterator[Metric]:
    requests, statements, errors = (
        _labelled(totals, kind) for kind in (metrics.REQUEST, metrics.STATEMENT, metrics.DATABASE_ERROR)
    )
    waits, lags = ([((), totals.fixed[place:])] for place in (metrics.CHECKOUT, metrics.LOOP_LAG))
    description = "Time from a request's head to the end of its answer; of a stream, to the answer's head."
    labels = ("method", "route", "status")
    yield _family("http_request_duration_seconds", description, labels, requests, metrics.REQUEST_SECONDS)
    description = "Time that a request waited for a connection."
    yield _family("database_pool_checkout_seconds", description, (), waits, metrics.CHECKOUT_SECONDS)
    name, description = "database_statement_duration_seconds", "Time of a statement."
    yield _family(name, description, ("statement",), statements, metrics.STATEMENT_SECONDS)
    description = "How late a worker's event loop runs what is due."
    yield _family("worker_event_loop_lag_seconds", description, (), lags, metrics.LOOP_LAG_SECONDS)
    yield _family("database_errors", "Failed statements and attempts to connect.", ("sqlstate_class",), errors)


def _custom(totals: Totals) -> Iterator[Metric]:
    series: dict[str, dict[Labels, list[float]]] = {}
    for (*labels, key), numbers in _labelled(totals, metrics.CUSTOM):
        series.setdefault(key, {})[tuple(labels)] = numbers
    for metric in custom_metrics.declared():
        found = dict.fromkeys(metric.expected(), _NONE) | series.get(metric.key, {})
        yield _family(metric.name, metric.description, metric.label_names, found.items(), metric.bounds)


def _family(
    name: str,
    description: str,
    label_names: Labels,
    series: Iterable[tuple[Labels, list[float]]],
    bounds: tuple[float, ...] = (),
) -> Any:
    """A histogram with the bounds of its buckets, or else a counter."""
    family: Any = (HistogramMetricFamily if bounds else CounterMetricFamily)(name, description, labels=label_names)
    for values, numbers in series:
        family.add_metric(values, *(_buckets(bounds, numbers) if bounds else numbers[:1]))
    return family


def _labelled(totals: Totals, kind: str) -> Iterator[tuple[Labels, list[float]]]:
    for labels, numbers in sorted(totals.labelled.items()):
        if labels[0] == kind:
            yield labels[1:], numbers


def _buckets(bounds: tuple[float, ...], numbers: list[float]) -> tuple[list[tuple[str, float]], float]:
    """The arguments of prometheus-client: for each bound, how many values did not exceed it, and then the sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(numbers[1 : len(names) + 1]), strict=True)), numbers[0]
