"""The worker's metrics on METRICS_PORT: its own counts, and what is in the queue."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client.exposition import start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from groundwork.jobs.worker import Worker
from groundwork.observe.metrics import counts
from groundwork.serve.metrics_endpoint import ServiceCollector
from groundwork.serve.settings import Settings


class _QueueCollector(Collector):
    """What was in the queue when the worker last looked. A scrape does not ask the database, which may sleep."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        state = self._worker.state
        jobs = GaugeMetricFamily("jobs", "Jobs in the queue.", labels=["state"])
        for name in ("waiting", "running", "failed"):
            jobs.add_metric([name], getattr(state, name))
        yield jobs
        age = (datetime.now(UTC) - state.due_since).total_seconds() if state.due_since else 0
        yield GaugeMetricFamily("jobs_oldest_seconds", "How long the oldest job that is due waits.", value=max(age, 0))


def serve_metrics(settings: Settings, port: int, worker: Worker) -> None:
    """Serve the metrics from a thread, until the process ends."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(counts, settings.version, settings.revision))
    registry.register(_QueueCollector(worker))
    start_http_server(port, settings.host, registry)
