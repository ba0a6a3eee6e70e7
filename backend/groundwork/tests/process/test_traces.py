"""What a collector receives from the real process. A collector that is away does not disturb requests."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.process.collector import CLIENT, ERROR, SERVER, Collector
from groundwork.tests.process.locked import Locked

TASKS = "/api/{user_id}/tasks"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
# The SDK's default is to send every 5 seconds.
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as collector:
        yield collector


@contextmanager
def traced(directory: Path, database: str, collector: str, **variables: str) -> Iterator[server.Server]:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    with server.running(directory, DATABASE_URL=database, **{**endpoint, **AT_ONCE, **variables}) as service:
        yield service


@pytest.fixture
def service(tmp_path: Path, service_url: str, collector: Collector) -> Iterator[server.Server]:
    variables = {"OTEL_SERVICE_NAME": "tasks", "DATABASE_STATEMENT_SECONDS": "0.5"}
    with traced(tmp_path, service_url, collector.url, **variables) as service:
        yield service


def test_a_trace_goes_on_from_its_caller_to_its_statement(service: server.Server, collector: Collector) -> None:
    headers = {**SAMPLED, "X-Request-ID": "find-me"}
    assert httpx.get(f"{service.url}/api/alice/tasks?limit=3", headers=headers).status_code == 200
    collector.wait_until(lambda: len(collector.spans) == 2)
    request, statement = collector.of(TRACE)
    assert (request.name, request.kind, request.parent_id) == (f"GET {TASKS}", SERVER, CALLER)
    assert request.attributes == {
        "http.request.method": "GET",
        "http.response.header.x-request-id": ["find-me"],
        "http.response.status_code": 200,
        "http.route": TASKS,
        "network.protocol.version": "1.1",
        "url.scheme": "http",
    }
    assert request.resource["service.name"] == "tasks"
    assert (statement.name, statement.kind, statement.parent_id) == ("SELECT", CLIENT, request.span_id)
    assert statement.attributes.pop("db.query.text").startswith("SELECT tasks.")
    assert statement.attributes == {"db.operation.name": "SELECT", "db.system.name": "postgresql"}
    assert 0 < statement.seconds < request.seconds
    assert not request.status
    assert not statement.status


def test_no_user_and_no_content_is_in_a_span(service: server.Server, collector: Collector) -> None:
    answer = httpx.post(f"{service.url}/api/alice/tasks", json={"title": "surprise"})
    assert answer.status_code == 201
    assert httpx.get(f"{service.url}/api/alice/tasks/{answer.json()['id']}").status_code == 200
    assert httpx.get(f"{service.url}/alice").status_code == 404
    collector.wait_until(lambda: sum(span.kind == SERVER for span in collector.spans) == 3)
    for secret in ("alice", "surprise", answer.json()["id"]):
        assert secret not in str(collector.spans)


def test_the_log_names_the_trace(service: server.Server, collector: Collector) -> None:
    httpx.get(f"{service.url}/api/alice/tasks", headers=SAMPLED)
    httpx.get(f"{service.url}/api/alice/tasks", headers=NOT_SAMPLED)
    # A log line is written after its answer, so the service is ended first.
    assert service.stop() == 0
    lines = [event for event in service.events() if event.get("route") == TASKS]
    assert {line.get("trace_id") for line in lines} == {TRACE, None}


def test_a_failed_statement_and_its_request_are_errors(
    service: server.Server, collector: Collector, database_url: str
) -> None:
    with Locked(database_url):
        assert httpx.get(f"{service.url}/api/alice/tasks").status_code == 503
    asyncio.run(_execute(database_url, "ALTER TABLE tasks RENAME TO things"))
    assert httpx.get(f"{service.url}/api/alice/tasks", headers=SAMPLED).status_code == 500
    collector.wait_until(lambda: len(collector.spans) == 4)
    (late,) = {span.trace_id for span in collector.spans} - {TRACE}
    for trace, status, error in ((late, 503, "TimeoutError"), (TRACE, 500, "42P01")):
        request, statement = collector.of(trace)
        assert request.status == statement.status == ERROR
        assert request.attributes["http.response.status_code"] == status
        assert request.attributes["error.type"] == str(status)
        assert statement.attributes["error.type"] == error
    assert statement.attributes["db.response.status_code"] == "42P01"
    # The log line with the traceback names the trace too.
    (defect,) = [event for event in service.events() if "traceback" in event]
    assert defect["trace_id"] == TRACE


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


def test_what_the_client_did_wrong_is_no_error(service: server.Server, collector: Collector) -> None:
    assert httpx.get(f"{service.url}/api/alice/tasks/no-uuid", headers=SAMPLED).status_code == 400
    collector.wait_until(lambda: len(collector.spans) == 1)
    (request,) = collector.spans
    assert (request.name, request.status) == (f"GET {TASKS}/{{task_id}}", 0)
    assert request.attributes["http.response.status_code"] == 400


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{CALLER}-01", f"ff-{TRACE}-{CALLER}-01"])
def test_a_caller_that_cannot_be_read_is_none(service: server.Server, collector: Collector, traceparent: str) -> None:
    headers = {"traceparent": traceparent}
    assert httpx.get(f"{service.url}/api/alice/tasks", headers=headers).status_code == 200
    collector.wait_until(lambda: len(collector.spans) == 2)
    (request,) = [span for span in collector.spans if span.kind == SERVER]
    assert not request.parent_id
    assert request.trace_id != TRACE


@pytest.mark.parametrize("sampler", [{}, {"OTEL_TRACES_SAMPLER": "always_off"}])
def test_what_is_not_sampled_is_served_and_not_sent(
    tmp_path: Path, service_url: str, collector: Collector, sampler: dict[str, str]
) -> None:
    headers = SAMPLED if sampler else NOT_SAMPLED
    with traced(tmp_path, service_url, collector.url, **sampler) as service:
        for _ in range(20):
            assert httpx.get(f"{service.url}/api/alice/tasks", headers=headers).status_code == 200
        assert httpx.get(f"{service.url}/health/ready").status_code == 200
        assert service.stop() == 0
    assert collector.requests == 0


def test_the_sampler_decides_for_whole_traces_of_all_workers(
    tmp_path: Path, service_url: str, collector: Collector
) -> None:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.3"}
    with traced(tmp_path, service_url, collector.url, WEB_CONCURRENCY="2", **sampler) as service:
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(lambda _: httpx.get(f"{service.url}/api/alice/tasks").status_code, range(300))
            assert set(answers) == {200}
        assert service.stop() == 0
    traces = {span.trace_id for span in collector.spans}
    # About 90 of 300 are expected. The bounds are about eight standard deviations away.
    assert 30 < len(traces) < 150
    assert len(collector.spans) == 2 * len(traces)
    assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2
    assert all(int(trace[16:], 16) < 0.3 * 2**64 for trace in traces)


def test_the_last_spans_arrive_before_the_service_ends(tmp_path: Path, service_url: str, collector: Collector) -> None:
    with traced(tmp_path, service_url, collector.url, WEB_CONCURRENCY="2", OTEL_BSP_SCHEDULE_DELAY="600000") as service:
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(lambda _: httpx.get(f"{service.url}/api/alice/tasks").status_code, range(40))
            assert set(answers) == {200}
        assert not collector.spans
        assert service.stop() == 0
    assert len(collector.spans) == 80


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path, service_url: str) -> None:
    with traced(tmp_path, service_url, "http://127.0.0.1:1", WEB_CONCURRENCY="1") as service:
        for _ in range(50):
            assert httpx.get(f"{service.url}/api/alice/tasks").status_code == 200
        service.wait_for_log("127.0.0.1', port=1")
        assert service.stop(timeout_seconds=15) == 0
    complaints = [event for event in service.events() if event["logger"].startswith("opentelemetry")]
    assert len(complaints) == 1


def test_a_collector_that_does_not_answer_disturbs_nobody(tmp_path: Path, service_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # There are more spans than the SDK's queue holds.
        with traced(tmp_path, service_url, url, WEB_CONCURRENCY="1", OTEL_BSP_MAX_QUEUE_SIZE="512") as service:
            with httpx.Client(base_url=service.url) as client:
                for _ in range(600):
                    assert client.get("/api/alice/tasks").status_code == 200
            assert service.stop(timeout_seconds=15) == 0
    complaints = [event for event in service.events() if event["logger"].startswith("opentelemetry")]
    assert len(complaints) <= 1


def test_a_span_of_a_services_own_is_between_the_request_and_its_statements(
    tmp_path: Path, service_url: str, collector: Collector
) -> None:
    (tmp_path / "own.py").write_text(OWN_SPAN)
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_TRACES_SAMPLER": "parentbased_always_on"}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "own:app"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "COMMAND", command)
        with traced(tmp_path, service_url, collector.url, **variables) as service:
            for headers in (SAMPLED, NOT_SAMPLED):
                assert httpx.get(f"{service.url}/own", headers=headers).status_code == 200
            assert service.stop() == 0
    request, own, statement = sorted(collector.spans, key=lambda span: -span.seconds)
    assert [request.name, own.name, statement.name] == ["GET /own", "own", "SELECT"]
    assert (own.parent_id, statement.parent_id) == (request.span_id, own.span_id)


OWN_SPAN = """
from fastapi import Request
from opentelemetry import trace
from pydantic import BaseModel
from sqlalchemy import literal, select
from groundwork.serve.settings import load_settings
from groundwork.data.statement import Statement
from app.main import create_app

class One(BaseModel):
    one: int

ONE = Statement(select(literal(1).label("one")), One)
app = create_app(load_settings())

@app.get("/own")
async def own(request: Request) -> One:
    with trace.get_tracer("own").start_as_current_span("own"):
        return await request.app.database.one(ONE)
"""


@pytest.mark.parametrize(
    ("variables", "loaded"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
    ],
)
def test_the_sdk_is_loaded_only_where_there_is_a_collector(variables: dict[str, str], loaded: bool) -> None:
    code = "import sys, app.main as main; main.app; sys.exit('opentelemetry.sdk' in sys.modules)"
    environment = server.environment(DATABASE_URL="postgresql://user@127.0.0.1:1/database", **variables)
    done = subprocess.run([sys.executable, "-c", code], cwd=server.BACKEND, env=environment, check=False)
    assert done.returncode == loaded


def test_the_sdk_reads_what_stands_in_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1\nOTEL_SERVICE_NAME=tasks\n")
    code = (
        "import os, pathlib, sys\n"
        "from groundwork.serve import application, settings\n"
        "application.ENV_FILE = settings.ENV_FILE = pathlib.Path(sys.argv[1])\n"
        "import app.main as main; main.app; print(os.environ['OTEL_SERVICE_NAME'])"
    )
    environment = server.environment(DATABASE_URL="postgresql://user@127.0.0.1:1/database")
    command = [sys.executable, "-c", code, str(tmp_path / ".env")]
    done = subprocess.run(command, cwd=server.BACKEND, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "tasks\n"
