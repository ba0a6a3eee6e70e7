"""Locust's counters as results: of the whole test, or of what has happened since a mark."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import gevent
from locust.runners import MasterRunner, Runner
from locust.stats import RequestStats, calculate_response_time_percentile, diff_response_time_dicts

from loadtests.gates import TOTAL, Result


@dataclass(frozen=True)
class _Counters:
    requests: int
    failures: int
    times: dict[int, int]


Mark = Mapping[str, _Counters]

_NOTHING = _Counters(0, 0, {})


def mark(stats: RequestStats) -> Mark:
    """The present state of the counters, for a later call of `results`."""
    entries = [*((entry.name, entry) for entry in stats.entries.values()), (TOTAL, stats.total)]
    return {
        name: _Counters(entry.num_requests, entry.num_failures, dict(entry.response_times)) for name, entry in entries
    }


def results(stats: RequestStats, seconds: float, since: Mark | None = None) -> dict[str, Result]:
    """The results of each operation and of all together, in the `seconds` since the mark or since the start."""
    now = mark(stats)
    return {name: _result(now[name], (since or {}).get(name, _NOTHING), seconds) for name in now}


def _result(now: _Counters, before: _Counters, seconds: float) -> Result:
    requests = now.requests - before.requests
    times = diff_response_time_dicts(now.times, before.times)
    p50, p95, p99 = (calculate_response_time_percentile(times, requests, part) for part in (0.5, 0.95, 0.99))
    return Result(requests, now.failures - before.failures, p50, p95, p99, requests / seconds)


def generator_cpu(runner: Runner) -> float:
    """How much of one core the generator's busiest process used in the last seconds, in percent."""
    workers = runner.clients.values() if isinstance(runner, MasterRunner) else ()
    return float(max([runner.current_cpu_usage, *(worker.cpu_usage for worker in workers)]))


def follow_cpu(runner: Runner) -> NoReturn:
    """Keep the runner's figure for its own process up to date, which workers report to their master.

    Under full load, Locust's own monitor had its first figure after 20 seconds, which is too late for a warning.
    """
    while True:
        began, used = time.monotonic(), time.process_time()
        gevent.sleep(1)
        runner.current_cpu_usage = 100 * (time.process_time() - used) / (time.monotonic() - began)
