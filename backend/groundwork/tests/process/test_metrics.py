"""The metrics of the real process, whichever worker answers the scrape."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from groundwork.tests.process import server
from groundwork.tests.process.locked import Locked

TASKS = "/api/{user_id}/tasks"
TASK = TASKS + "/{task_id}"
KNOWN_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
NOBODY = "postgresql://user:secret@127.0.0.1:1/database"


class Scraped(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of one answer, by name and labels."""

    @classmethod
    def of(cls, text: str) -> "Scraped":
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def value(self, name: str, **labels: str) -> float:
        """The value of a series; 0 if there is no such series."""
        return self.get((name, frozenset(labels.items())), 0)

    def requests(self, method: str, route: str, status: int) -> float:
        return self.value("http_request_duration_seconds_count", method=method, route=route, status=str(status))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for of, labels in self if of == name]


class Observed:
    """A service whose metrics have a port of their own."""

    def __init__(self, service: server.Server, port: int) -> None:
        self.service = service
        self.url = f"http://127.0.0.1:{port}"

    def scrape(self) -> Scraped:
        # Each scrape has a new connection, so any worker may answer.
        return Scraped.of(httpx.get(f"{self.url}/metrics").raise_for_status().text)

    def get(self, path: str) -> int:
        return httpx.get(f"{self.service.url}{path}", timeout=30).status_code

    def wait_until(self, holds: Callable[[Scraped], bool]) -> Scraped:
        deadline = time.monotonic() + 20
        while not holds(scraped := self.scrape()):
            assert time.monotonic() < deadline, dict(scraped)
            time.sleep(0.05)
        return scraped


@contextmanager
def observed(directory: Path, *, application: str | None = None, **variables: str) -> Iterator[Observed]:
    port = server.free_port()
    settings = {"METRICS_PORT": str(port), "WEB_CONCURRENCY": "2", **variables}
    with server.running(directory, application=application, **settings) as service:
        yield Observed(service, port)


@pytest.fixture
def service(tmp_path: Path, service_url: str) -> Iterator[Observed]:
    with observed(tmp_path, DATABASE_URL=service_url, GRACEFUL_SHUTDOWN_SECONDS="3") as service:
        yield service


def test_what_alerts_count_begins_at_0(service: Observed) -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    scraped = service.scrape()
    requests = "http_request_duration_seconds_count"
    for labels in (
        *({"method": method, "route": "", "status": "503"} for method in KNOWN_METHODS),
        *({"method": "GET", "route": route, "status": "500"} for route in (TASKS, TASK, "/health/ready")),
        {"method": "PATCH", "route": f"{TASK}/complete", "status": "503"},
    ):
        assert scraped[requests, frozenset(labels.items())] == 0
    for class_ in ("connection", "timeout", "08", "42", "53"):
        assert scraped["database_errors_total", frozenset({("sqlstate_class", class_)})] == 0
    for name in ("http_requests_shed_total", "log_lines_lost_total", "worker_restarts_total"):
        assert scraped[name, frozenset()] == 0
    assert (TASKS, "404") not in {(each["route"], each["status"]) for each in scraped.labels(requests)}


def test_the_counts_are_those_of_all_workers(service: Observed) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(service.get, ["/api/alice/tasks"] * 120)) == {200}
        assert set(threads.map(service.get, ["/api/alice/tasks/no-uuid"] * 30)) == {400}
    for scraped in [service.scrape() for _ in range(8)]:
        assert scraped.requests("GET", TASKS, 200) == 120
        assert scraped.requests("GET", TASK, 400) == 30
        assert scraped.value("database_statement_duration_seconds_count", statement="tasks.list") == 120
        assert scraped.value("database_pool_checkout_seconds_count") == 120
        assert scraped.value("http_requests_in_flight") == 0
        assert scraped.value("workers") == 2
        assert scraped.value("worker_restarts_total") == 0
        assert scraped.value("database_pool_size") == 20


def test_a_request_is_in_its_bucket_and_those_above(service: Observed, database_url: str) -> None:
    with ThreadPoolExecutor() as threads:
        with Locked(database_url) as lock:
            answer = threads.submit(service.get, "/api/alice/tasks")
            lock.wait_for(1)
            time.sleep(0.12)
        assert answer.result() == 200
    scraped = service.scrape()
    labels = {"method": "GET", "route": TASKS, "status": "200"}
    assert scraped.value("http_request_duration_seconds_bucket", le="0.1", **labels) == 0
    assert scraped.value("http_request_duration_seconds_bucket", le="+Inf", **labels) == 1
    assert scraped.value("http_request_duration_seconds_sum", **labels) > 0.12
    assert scraped.value("database_statement_duration_seconds_bucket", le="0.1", statement="tasks.list") == 0
    assert scraped.value("database_statement_duration_seconds_sum", statement="tasks.list") > 0.12


def test_what_goes_on_is_seen_while_it_does(service: Observed, database_url: str) -> None:
    with ThreadPoolExecutor(30) as threads:
        with Locked(database_url):
            answers = [threads.submit(service.get, "/api/alice/tasks") for _ in range(30)]
            service.wait_until(
                lambda scraped: (
                    scraped.value("http_requests_in_flight") == 30
                    and scraped.value("database_pool_connections", state="in_use")
                    + scraped.value("database_pool_waiting")
                    == 30
                )
            )
        assert {answer.result() for answer in answers} == {200}
    service.wait_until(
        lambda scraped: (
            scraped.value("http_requests_in_flight") == scraped.value("database_pool_connections", state="in_use") == 0
            and scraped.value("database_pool_connections", state="idle") > 0
        )
    )


def test_each_worker_tells_of_its_memory_cpu_and_loop(service: Observed) -> None:
    scraped = service.wait_until(lambda scraped: scraped.value("worker_event_loop_lag_seconds_count") >= 4)
    # Two workers have loaded the service.
    assert scraped.value("process_resident_memory_bytes") > 2 * 30_000_000
    assert scraped.value("process_cpu_seconds_total") > 0
    assert ("worker_issuer_keys_timestamp_seconds", frozenset()) not in scraped
    before = scraped.value("process_cpu_seconds_total")
    for victim in service.service.workers():
        os.kill(victim, signal.SIGKILL)
    service.wait_until(lambda scraped: scraped.value("worker_restarts_total") == 2)
    assert service.scrape().value("process_cpu_seconds_total") >= before


def test_a_killed_worker_leaves_its_counts_and_nothing_in_flight(service: Observed, database_url: str) -> None:
    with ThreadPoolExecutor(30) as threads:
        assert set(threads.map(service.get, ["/api/alice/tasks"] * 60)) == {200}
        with Locked(database_url):
            cut = [threads.submit(service.get, "/api/alice/tasks") for _ in range(30)]
            service.wait_until(lambda scraped: scraped.value("http_requests_in_flight") == 30)
            for victim in service.service.workers():
                os.kill(victim, signal.SIGKILL)
            assert all(isinstance(answer.exception(), httpx.TransportError) for answer in cut)
            scraped = service.wait_until(lambda scraped: scraped.value("worker_restarts_total") == 2)
            assert scraped.value("http_requests_in_flight") == 0
            assert scraped.value("workers") == 2
        assert set(threads.map(service.get, ["/api/alice/tasks"] * 60)) == {200}
    for scraped in [service.scrape() for _ in range(8)]:
        assert scraped.requests("GET", TASKS, 200) == 120


def test_a_reload_counts_on(service: Observed) -> None:
    assert {service.get("/api/alice/tasks") for _ in range(20)} == {200}
    before = set(service.service.workers())
    service.service.process.send_signal(signal.SIGHUP)
    scraped = service.wait_until(
        lambda scraped: scraped.value("workers") == 2 and not before & set(service.service.workers())
    )
    assert scraped.value("worker_restarts_total") == 2
    assert {service.get("/api/alice/tasks") for _ in range(20)} == {200}
    assert service.scrape().requests("GET", TASKS, 200) == 40


def test_workers_that_load_the_code_anew_count_together_too(tmp_path: Path, service_url: str) -> None:
    with observed(tmp_path, DATABASE_URL=service_url, RELOAD="true") as service:
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(service.get, ["/api/alice/tasks"] * 40)) == {200}
        assert {service.scrape().requests("GET", TASKS, 200) for _ in range(8)} == {40}


COUNTED = "groundwork.tests.process.counted:app"


@pytest.fixture
def counted(tmp_path: Path, service_url: str) -> Iterator[Observed]:
    """The service with metrics of its own."""
    with observed(tmp_path, application=COUNTED, DATABASE_URL=service_url, WEB_CONCURRENCY="3") as service:
        yield service


def post(service: Observed, paths: list[str]) -> None:
    """Send each request over a new connection, so that both workers get some."""
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda path: httpx.post(f"{service.service.url}{path}", timeout=30).status_code, paths)
        assert set(answers) == {200}


def test_metrics_of_a_team_are_those_of_all_workers_also_of_killed_ones(counted: Observed) -> None:
    orders = ["/orders/web?seconds=0.1"] * 60 + ["/orders/fax?seconds=3"] * 30
    visits = [f"/visits/{country}" for country in ("at", "be", "ch") for _ in range(20)]
    assert counted.scrape()["orders_total", frozenset({("kind", "shop")})] == 0
    assert counted.scrape()["order_seconds_count", frozenset()] == 0
    post(counted, orders + visits)
    post(counted, ["/visits/de", "/visits/es"])

    def check(rounds: int) -> None:
        for scraped in [counted.scrape() for _ in range(6)]:
            assert scraped.value("orders_total", kind="web") == 60 * rounds
            assert scraped.value("orders_total", kind="shop") == 0
            assert scraped.value("orders_total", kind="other") == 30 * rounds
            assert scraped.value("order_seconds_bucket", le="0.1") == 60 * rounds
            assert scraped.value("order_seconds_bucket", le="2.0") == 60 * rounds
            assert scraped.value("order_seconds_bucket", le="+Inf") == 90 * rounds
            assert scraped.value("order_seconds_sum") == pytest.approx(96 * rounds)
            assert {each["country"] for each in scraped.labels("visits_total")} == {"at", "be", "ch", "other"}
            assert scraped.value("visits_total", country="at") == 20 * rounds
            assert scraped.value("visits_total", country="other") == 2 * rounds

    check(rounds=1)
    for victim in counted.service.workers():
        os.kill(victim, signal.SIGKILL)
    counted.wait_until(lambda scraped: scraped.value("worker_restarts_total") == 3 and scraped.value("workers") == 3)
    check(rounds=1)
    post(counted, orders + visits)
    post(counted, ["/visits/de", "/visits/es"])
    check(rounds=2)
    counted.service.process.send_signal(signal.SIGHUP)
    counted.wait_until(lambda scraped: scraped.value("worker_restarts_total") == 6 and scraped.value("workers") == 3)
    check(rounds=2)


def test_metrics_of_a_team_count_together_where_each_worker_loads_the_code(tmp_path: Path, service_url: str) -> None:
    with observed(tmp_path, application=COUNTED, DATABASE_URL=service_url, RELOAD="true") as service:
        post(service, ["/orders/shop?seconds=1"] * 40)
        assert {service.scrape().value("orders_total", kind="shop") for _ in range(6)} == {40}


def test_metrics_of_a_team_are_told_with_their_help_and_type(counted: Observed) -> None:
    text = httpx.get(f"{counted.url}/metrics").text
    for line in (
        "# HELP orders_total Orders placed.",
        "# TYPE orders_total counter",
        "# HELP order_seconds Time from an order to its confirmation.",
        "# TYPE order_seconds histogram",
        "# TYPE visits_total counter",
    ):
        assert line in text.splitlines()


def test_refusals_at_capacity_are_counted(tmp_path: Path, service_url: str, database_url: str) -> None:
    variables = {"WEB_CONCURRENCY": "1", "DATABASE_POOL_SIZE": "1", "DATABASE_QUEUE_SECONDS": "0.0001"}
    with (
        observed(tmp_path, DATABASE_URL=service_url, **variables) as service,
        ThreadPoolExecutor() as threads,
        Locked(database_url) as lock,
    ):
        threads.submit(service.get, "/api/alice/tasks")
        lock.wait_for(1)
        threads.submit(service.get, "/api/alice/tasks")
        service.wait_until(lambda scraped: scraped.value("database_pool_waiting") == 1)
        assert [service.get("/api/alice/tasks") for _ in range(5)] == [503] * 5
        scraped = service.scrape()
    assert scraped.value("http_requests_shed_total") == 5
    assert scraped.requests("GET", "", 503) == 5


def test_database_errors_are_counted_by_their_class(tmp_path: Path, service_url: str, database_url: str) -> None:
    with observed(tmp_path, DATABASE_URL=service_url, DATABASE_STATEMENT_SECONDS="0.3") as service:
        with Locked(database_url):
            assert service.get("/api/alice/tasks") == 503
        asyncio.run(_execute(database_url, "ALTER TABLE tasks RENAME TO things"))
        assert service.get("/api/alice/tasks") == 500
        scraped = service.scrape()
    assert scraped.value("database_errors_total", sqlstate_class="timeout") == 1
    assert scraped.value("database_errors_total", sqlstate_class="42") == 1


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


def test_a_database_that_refuses_is_a_lost_connection(tmp_path: Path) -> None:
    variables = {"DATABASE_URL": NOBODY, "DATABASE_WAIT_SECONDS": "0.2"}
    with observed(tmp_path, **variables) as service:
        assert service.get("/api/alice/tasks") == 503
        assert service.scrape().value("database_errors_total", sqlstate_class="connection") > 0


def test_clients_cannot_make_series_without_end(service: Observed) -> None:
    methods = ["BREW", "PROPFIND", "LINK", "M-SEARCH", "REPORT", "TRACE"]
    paths = [f"/{number}" for number in range(20)] + [f"/api/user-{number}/tasks" for number in range(20)]
    with httpx.Client(base_url=service.service.url) as client:
        for path in paths:
            for method in methods:
                client.request(method, path)
    labels = service.scrape().labels("http_request_duration_seconds_count")
    assert {each["method"] for each in labels} == {"_OTHER", *KNOWN_METHODS}
    assert {each["route"] for each in labels} == {"", TASKS, TASK, f"{TASK}/complete", "/health/live", "/health/ready"}
    assert len(labels) < 50


def test_there_are_no_metrics_on_the_public_port(service: Observed) -> None:
    answer = httpx.get(f"{service.service.url}/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "/metrics" not in httpx.get(f"{service.service.url}/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", ["/", "/health/live", "/api/alice/tasks", "/openapi.json"])
def test_there_are_only_metrics_on_their_port(service: Observed, path: str) -> None:
    assert httpx.get(f"{service.url}{path}").status_code == 404
    assert httpx.post(f"{service.url}/metrics").status_code == 404


def test_there_is_no_such_port_unless_it_is_set(tmp_path: Path, service_url: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        assert service.log().count("Listening at: ") == 1
        assert f"Listening at: {service.url} " in service.log()


def test_it_says_what_is_running(tmp_path: Path, service_url: str) -> None:
    with observed(tmp_path, DATABASE_URL=service_url, VERSION="1.2.3", REVISION="abc") as service:
        (labels,) = service.scrape().labels("build_info")
    assert (labels["version"], labels["revision"]) == ("1.2.3", "abc")
    assert labels["python"].startswith("3.")


def test_it_speaks_openmetrics_too(service: Observed) -> None:
    answer = httpx.get(f"{service.url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = openmetrics.text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    assert "http_requests_shed" in {family.name for family in families}
