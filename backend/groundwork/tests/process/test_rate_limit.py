"""The rate limit with two real workers, and what Prometheus and the log say about it."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.test_metrics import TASKS, Scraped

BURST = 200
CLIENTS = 12
PATH = "/api/alice/tasks"


@pytest.fixture
def metrics_port() -> int:
    return server.free_port()


@pytest.fixture
def service(tmp_path: Path, database_url: str, metrics_port: int) -> Iterator[server.Server]:
    limits = {"RATE_LIMIT_PER_MINUTE": "60", "RATE_LIMIT_BURST": str(BURST)}
    with server.running(
        tmp_path, DATABASE_URL=database_url, WEB_CONCURRENCY="2", METRICS_PORT=str(metrics_port), **limits
    ) as service:
        deadline = time.monotonic() + 20
        while len(service.workers()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield service


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_one_worker_has_allowed_the_other_does_not_allow_again(service: server.Server) -> None:
    began = time.monotonic()
    allowed = 0
    for other in service.workers():
        with stopped(other), httpx.Client(base_url=service.url, timeout=20) as client:
            # Each worker gets requests for more than half of the tokens.
            allowed += [client.get(PATH).status_code for _ in range(BURST * 3 // 4)].count(200)
    assert BURST <= allowed <= BURST + (time.monotonic() - began) + 1


def test_both_together_allow_no_more_and_each_refusal_is_counted(service: server.Server, metrics_port: int) -> None:
    began = time.monotonic()
    start = threading.Barrier(CLIENTS)

    def ask(_: int) -> Counter[int]:
        with httpx.Client(base_url=service.url, timeout=20) as client:
            start.wait()
            return Counter(client.get(PATH).status_code for _ in range(3 * BURST // CLIENTS))

    with ThreadPoolExecutor(CLIENTS) as threads:
        statuses = sum(threads.map(ask, range(CLIENTS)), Counter[int]())
    refilled = time.monotonic() - began
    assert set(statuses) == {200, 429}
    # A token may be taken twice if both workers take it at the same moment.
    assert BURST <= statuses[200] <= (BURST + refilled) * 1.05 + 1
    scraped = Scraped.of(httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text)
    assert scraped.requests("GET", TASKS, 429) == statuses[429]
    refused = [event for event in service.events() if event.get("status") == 429]
    assert len(refused) == statuses[429]
    assert all(event["user"] and event["route"] == TASKS for event in refused)
