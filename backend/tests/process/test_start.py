"""What an operator sees when the service starts, or cannot."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.process import server

PASSWORD = "correct-horse-battery"
URL = f"postgresql://user:{PASSWORD}@127.0.0.1:1/database"


@pytest.mark.parametrize(
    ("variable", "value", "expectation"),
    [
        ("DATABASE_URL", "", "is not set; expected a PostgreSQL URL"),
        ("DATABASE_URL", f"mysql://user:{PASSWORD}@host/database", "must be a PostgreSQL URL"),
        ("DATABASE_URL", f"{URL}?sslmode=maybe", "sslmode must be one of disable, allow"),
        ("DATABASE_URL", f"postgresql://user:{PASSWORD}@more@host/database", "percent-encoded"),
        ("DATABASE_URL", f"postgresql://user:{PASSWORD}@a..b/database", "host or port"),
        ("DATABASE_URL", f"{URL}?sslaccept=strict", "sslaccept cannot be kept"),
        ("DATABASE_URL", f"{URL}?sslrootcert=/nonexistent", "sslrootcert: '/nonexistent' cannot be read"),
        ("DATABASE_URL", f"{URL}?passfile=/nonexistent", "passfile: '/nonexistent' cannot be read"),
        ("DATABASE_URL", f"{URL}?target_session_attrs=writable", "target_session_attrs must be one of any"),
        ("DATABASE_DIRECT_URL", f"{URL}?ssl=yes", "ssl must be true"),
        ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
        ("DATABASE_STATEMENT_SECONDS", "soon", "valid number"),
        ("PORT", "http", "valid integer"),
        ("WEB_CONCURRENCY", "0", "greater than or equal to 1"),
        ("CORS_ORIGINS", "app.example.com", "must be origins such as https://"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("REQUEST_BODY_LIMIT_BYTES", "1MB", "valid integer"),
        ("METRICS_PORT", "8000", "must differ from PORT"),
        ("METRICS_PORT", "off", "valid integer"),
        ("ACCESS_LOG_SAMPLE", "10%", "valid number"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "such as http://collector:4318"),
        ("ACCESS_LOG_SAMPLE", "2", "less than or equal to 1"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(
    variable: str, value: str, expectation: str
) -> None:
    variables = {"DATABASE_URL": URL, variable: value}
    done = subprocess.run(
        server.COMMAND,
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert not done.stdout
    assert done.stderr.startswith(f"{variable}: "), done.stderr
    assert expectation in done.stderr
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr


def test_it_imports_nothing_that_it_does_not_use(tmp_path: Path, service_url: str) -> None:
    with server.running(
        tmp_path, DATABASE_URL=service_url, WEB_CONCURRENCY="1", PYTHONPROFILEIMPORTTIME="1"
    ) as service:
        assert httpx.get(f"{service.url}/health/live").status_code == 200
        assert httpx.get(f"{service.url}/api/alice/tasks").status_code == 200
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", service.log(), re.MULTILINE))
    assert {"fastapi", "pydantic", "asyncpg", "uvloop"} <= imported
    assert not imported & {
        "joserfc",
        "opentelemetry.sdk",
        "prometheus_client",
        "pydantic.v1.main",
        "pydantic_settings",
        "sqlalchemy.ext.asyncio",
    }


def test_it_starts_without_its_database_and_says_so(tmp_path: Path) -> None:
    with server.running(tmp_path, DATABASE_URL=URL, WEB_CONCURRENCY="1", DATABASE_WAIT_SECONDS="1") as service:
        assert httpx.get(f"{service.url}/health/live").status_code == 200
        for path in ("/health/ready", "/api/alice/tasks"):
            answer = httpx.get(f"{service.url}{path}")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
    assert PASSWORD not in service.log()


def test_every_line_of_the_log_is_json_and_a_request_can_be_found_by_its_id(tmp_path: Path, service_url: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url) as service:
        answer = httpx.get(f"{service.url}/api/alice/tasks", headers={"X-Request-ID": "find-me"})
        assert answer.headers["x-request-id"] == "find-me"
        assert service.stop() == 0
    events = service.events()
    assert {"gunicorn.error", "app.access"} <= {event["logger"] for event in events}
    (found,) = [event for event in events if event.get("request_id") == "find-me" and "status" in event]
    assert found["route"] == "/api/{user_id}/tasks"
    assert found["status"] == 200
    assert "alice" not in service.log()
    # uvicorn's and gunicorn's own access logs would say each request twice.
    assert [event["logger"] for event in events].count("app.access") == service.log().count('"status"')
