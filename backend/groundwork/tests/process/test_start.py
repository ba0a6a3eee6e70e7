"""What an operator sees when the service starts or cannot start."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from groundwork.testing import postgres
from groundwork.tests.process import server

PASSWORD = "correct-horse-battery"
URL = f"postgresql://user:{PASSWORD}@127.0.0.1:1/database"


def start(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a service that ends by itself."""
    return subprocess.run(
        command,
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "value", "expectation"),
    [
        ("DATABASE_URL", "", "is not set; expected a PostgreSQL URL"),
        ("DATABASE_URL", f"mysql://user:{PASSWORD}@host/database", "must be a PostgreSQL URL"),
        ("DATABASE_URL", f"{URL}?sslmode=maybe", "sslmode must be one of disable, allow"),
        ("DATABASE_URL", f"postgresql://user:{PASSWORD}@more@host/database", "percent-encoded"),
        ("DATABASE_URL", f"postgresql://user:{PASSWORD}@a..b/database", "host or port"),
        ("DATABASE_URL", f"{URL}?sslaccept=strict", "sslaccept is not supported"),
        ("DATABASE_URL", f"{URL}?sslrootcert=/nonexistent", "sslrootcert: '/nonexistent' cannot be read"),
        ("DATABASE_URL", f"{URL}?passfile=/nonexistent", "passfile: '/nonexistent' cannot be read"),
        ("DATABASE_URL", f"{URL}?target_session_attrs=writable", "target_session_attrs must be one of any"),
        ("DATABASE_DIRECT_URL", f"{URL}?ssl=yes", "ssl must be true"),
        ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
        ("DATABASE_STATEMENT_SECONDS", "soon", "valid number"),
        ("PORT", "http", "valid integer"),
        ("WEB_CONCURRENCY", "0", "greater than or equal to 1"),
        ("WEB_CONCURRENCY", "auto", "must be the number of worker processes"),
        ("WEB_CONCURRENCY", "abc", "valid integer"),
        ("HOST", "api.example.com", "must be an IP address of this machine"),
        ("HOST", "192.0.2.1", "is no address of this machine"),
        ("HOST", "2001:db8::1", "is no address of this machine"),
        ("GUNICORN_CMD_ARGS", "--workers 8", "set WEB_CONCURRENCY instead"),
        ("GUNICORN_CMD_ARGS", "--bind 127.0.0.1:1", "set HOST, PORT and METRICS_PORT instead"),
        ("GUNICORN_CMD_ARGS", "--graceful-timeout 5", "set GRACEFUL_SHUTDOWN_SECONDS instead"),
        ("GUNICORN_CMD_ARGS", "--keep-alive 5", "set KEEP_ALIVE_SECONDS instead"),
        ("GUNICORN_CMD_ARGS", "--reload", "set RELOAD instead"),
        ("GUNICORN_CMD_ARGS", "--worker-class sync", "leave the option out"),
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
    done = start(server.COMMAND, **variables)
    assert done.returncode == os.EX_CONFIG
    assert not done.stdout
    # If gunicorn reads the setting, the log first says that gunicorn starts.
    said = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("{"))
    assert said.startswith(f"{variable}: "), done.stderr
    assert expectation in said
    assert said.count("\n") == 1
    assert PASSWORD not in done.stderr
    assert "Traceback" not in done.stderr


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
    # With uvicorn's or gunicorn's own access log, each request would be logged twice.
    assert [event["logger"] for event in events].count("app.access") == service.log().count('"status"')


@pytest.mark.parametrize("value", ["", " ", "2.0", " 2\n"])
def test_workers_are_counted_as_the_settings_read_them(tmp_path: Path, service_url: str, value: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url, WEB_CONCURRENCY=value) as service:
        wait_for_two_workers(service)


def wait_for_two_workers(service: server.Server) -> None:
    """Wait for both workers. The first one may answer before the second one is forked."""
    deadline = time.monotonic() + server.START_SECONDS
    while len(service.workers()) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_gunicorn_itself_starts_the_same_service(tmp_path: Path, service_url: str) -> None:
    with server.running_command(
        server.GUNICORN, tmp_path, DATABASE_URL=service_url, WEB_CONCURRENCY="2", GUNICORN_CMD_ARGS="--timeout 60"
    ) as service:
        assert httpx.get(f"{service.url}/health/ready").status_code == 200
        wait_for_two_workers(service)


def test_gunicorn_itself_takes_no_number_of_workers_beside_the_setting() -> None:
    done = start([*server.GUNICORN, "--workers", "8"], DATABASE_URL=URL)
    assert done.returncode == os.EX_CONFIG
    assert "gunicorn's command line: must not change workers; set WEB_CONCURRENCY instead" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
def test_it_listens_on_each_form_of_an_address(tmp_path: Path, service_url: str, host: str) -> None:
    with server.running(tmp_path, DATABASE_URL=service_url, HOST=host) as service:
        assert httpx.get(f"{service.url}/health/live").status_code == 200


def test_it_takes_no_arguments() -> None:
    done = start([*server.COMMAND, "--workers", "8"], DATABASE_URL=URL)
    assert done.returncode == os.EX_USAGE
    assert done.stderr.count("\n") == 1


def _can_hide_memory() -> bool:
    check = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev"], capture_output=True, check=False
    )
    return check.returncode == 0


def test_it_starts_where_there_is_no_memory_folder(tmp_path: Path, service_url: str) -> None:
    """The test imitates macOS by a mount namespace whose /dev has no shm."""
    if not shutil.which("unshare") or not _can_hide_memory():
        pytest.skip("mount namespaces are needed here, which root may make")
    devices = "mount -t tmpfs none /mnt && for each in null zero random urandom tty; do touch /mnt/$each &&"
    devices += " mount --bind /dev/$each /mnt/$each; done && mount --move /mnt /dev && test ! -e /dev/shm"
    hidden = ["unshare", "--mount", "sh", "-c", f'{devices} && exec "$@"', "sh"]
    with server.running_command([*hidden, *server.COMMAND], tmp_path, DATABASE_URL=service_url) as service:
        assert httpx.get(f"{service.url}/health/ready").status_code == 200
        assert service.stop() == 0


@pytest.fixture
def latin_url(postgres_server: postgres.Server) -> Iterator[str]:
    postgres_server.create_encoded_database("latin", "LATIN1")
    yield postgres_server.url("latin")
    postgres_server.drop_database("latin")


def test_a_database_that_cannot_hold_every_text_stops_the_start(latin_url: str) -> None:
    done = start(server.COMMAND, DATABASE_URL=latin_url, PORT=str(server.free_port()))
    assert done.returncode == os.EX_CONFIG
    assert "DATABASE_URL: the database's encoding is LATIN1" in done.stderr
    assert "Traceback" not in done.stderr
