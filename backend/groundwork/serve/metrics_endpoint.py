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
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from groundwork.http.problems import problem
from groundwork.observe import custom_metrics, metrics
from groundwork.observe.metrics import Counts, Labels, Totals

_PATH = "/metrics"
# The classes that alerts ask for, and those that a defect in a statement causes.
_SQLSTATE_CLASSES = ("08", "22", "23", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58", "XX")
_ERROR_CLASSES = (*_SQLSTATE_CLASSES, metrics.TIMED_OUT, metrics.LOST)
_NONE = [0.0] * metrics.SERIES_COUNTS


class MetricsEndpoint:
    """An ASGI application: `GET /metrics` reports what all workers have counted.

    Args:
        version, revision: what is running.
        routes: returns the service's routes; called at the first scrape.
    """

    def __init__(
        self, counts: Counts, *, version: str, revision: str, routes: Callable[[], list[BaseRoute]] = list
    ) -> None:
        self._collector: Any = ServiceCollector(counts, version, revision, routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != _PATH or scope["method"] not in ("GET", "HEAD"):
            await problem(404, "Only GET /metrics is served here.")(scope, receive, send)
            return
        encode, content_type = choose_encoder(dict(scope["headers"]).get(b"accept", b"").decode("latin-1"))
        body = encode(self._collector)
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class ServiceCollector(Collector):
    """What this process and its workers have counted, as prometheus-client asks for it.

    Args:
        version, revision, routes: as for `MetricsEndpoint`.
    """

    def __init__(
        self, counts: Counts, version: str, revision: str, routes: Callable[[], list[BaseRoute]] = list
    ) -> None:
        self._counts = counts
        self._routes = routes
        self._build = {"version": version, "revision": revision, "python": platform.python_version()}

    @cached_property
    def _expected(self) -> list[Labels]:
        return [*_failures(self._routes()), *((metrics.DATABASE_ERROR, class_) for class_ in _ERROR_CLASSES)]

    def collect(self) -> Iterable[Metric]:
        totals = self._counts.totals()
        for labels in self._expected:
            totals.labelled.setdefault(labels, _NONE)
        yield _requests(totals)
        yield _gauge(totals, metrics.IN_FLIGHT, "http_requests_in_flight", "Requests that are being served.")
        yield CounterMetricFamily(
            "http_requests_shed", "Requests refused at capacity, with 503.", value=totals.fixed[metrics.SHED]
        )
        yield CounterMetricFamily(
            "log_lines_lost",
            "Lines of the log that could not be written at once.",
            value=totals.fixed[metrics.LOG_LINES_LOST],
        )
        yield from _database(totals)
        yield _gauge(totals, metrics.WORKERS, "workers", "Workers that run.")
        yield CounterMetricFamily(
            "worker_restarts", "Workers started beyond those of the start.", value=totals.restarts
        )
        build = GaugeMetricFamily("build_info", "What is running.", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build
        yield from _custom(totals)


def _failures(routes: list[BaseRoute]) -> Iterator[Labels]:
    """The series of each operation's 500 and 503, and of each method's requests that were shed before routing."""
    found = [each for each in iter_route_contexts(routes) if isinstance(each.original_route, APIRoute)]
    operations = {(method, each.path_format or "") for each in found for method in each.methods or ()}
    operations |= {("HEAD", path) for method, path in operations if method == "GET"}
    for method, route in operations:
        yield metrics.REQUEST, method, "", "503"
        for status in ("500", "503"):
            yield metrics.REQUEST, method, route, status


def _requests(totals: Totals) -> Metric:
    family = HistogramMetricFamily(
        "http_request_duration_seconds",
        "Time from a request's head to the end of its answer.",
        labels=["method", "route", "status"],
    )
    for labels, numbers in _labelled(totals, metrics.REQUEST):
        family.add_metric(labels, *_buckets(metrics.REQUEST_SECONDS, numbers))
    return family


def _custom(totals: Totals) -> Iterator[Metric]:
    series: dict[str, dict[Labels, list[float]]] = {}
    for (kind, *labels, key), numbers in sorted(totals.labelled.items()):
        if kind == metrics.CUSTOM:
            series.setdefault(key, {})[tuple(labels)] = numbers
    for metric in custom_metrics.declared():
        found = dict.fromkeys(metric.expected(), _NONE) | series.get(metric.key, {})
        if isinstance(metric, custom_metrics.Counter):
            counter = CounterMetricFamily(metric.name, metric.description, labels=metric.label_names)
            for values, numbers in found.items():
                counter.add_metric(values, numbers[0])
            yield counter
        else:
            histogram = HistogramMetricFamily(metric.name, metric.description, labels=metric.label_names)
            for values, numbers in found.items():
                histogram.add_metric(values, *_buckets(metric.bounds, numbers))
            yield histogram


def _database(totals: Totals) -> Iterator[Metric]:
    connections = GaugeMetricFamily("database_pool_connections", "Connections to the database.", labels=["state"])
    for state, place in (
        ("in_use", metrics.POOL_IN_USE),
        ("idle", metrics.POOL_IDLE),
        ("opening", metrics.POOL_OPENING),
    ):
        connections.add_metric([state], totals.fixed[place])
    yield connections
    yield _gauge(totals, metrics.POOL_SIZE, "database_pool_size", "Connections that the pools may have.")
    yield _gauge(totals, metrics.POOL_WAITING, "database_pool_waiting", "Requests that wait for a connection.")
    yield _histogram(
        totals,
        metrics.CHECKOUT,
        metrics.CHECKOUT_SECONDS,
        "database_pool_checkout_seconds",
        "Time that a request waited for a connection.",
    )
    yield _histogram(
        totals,
        metrics.STATEMENT,
        metrics.STATEMENT_SECONDS,
        "database_statement_duration_seconds",
        "Time of a statement.",
    )
    errors = CounterMetricFamily(
        "database_errors", "Failed statements and attempts to connect.", labels=["sqlstate_class"]
    )
    for labels, numbers in _labelled(totals, metrics.DATABASE_ERROR):
        errors.add_metric(labels, numbers[0])
    yield errors


def _gauge(totals: Totals, place: int, name: str, help_: str) -> Metric:
    return GaugeMetricFamily(name, help_, value=totals.fixed[place])


def _histogram(totals: Totals, place: int, bounds: tuple[float, ...], name: str, help_: str) -> Metric:
    buckets, sum_ = _buckets(bounds, totals.fixed[place : place + len(bounds) + 2])
    return HistogramMetricFamily(name, help_, buckets=buckets, sum_value=sum_)


def _labelled(totals: Totals, kind: str) -> Iterator[tuple[list[str], list[float]]]:
    for (first, *labels), numbers in sorted(totals.labelled.items()):
        if first == kind:
            yield labels, numbers


def _buckets(bounds: tuple[float, ...], numbers: list[float]) -> tuple[list[tuple[str, float]], float]:
    """The arguments of prometheus-client: for each bound, how many values did not exceed it; and the sum."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(numbers[1 : len(names) + 1]), strict=True)), numbers[0]
