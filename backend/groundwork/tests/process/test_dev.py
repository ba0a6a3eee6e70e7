"""`make run` before it serves: what it says when it cannot."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.tests.process import server


def dev(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "groundwork.dev", *arguments],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_said_in_one_line(database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = dev("run", DATABASE_URL=database_url, PORT=str(port))
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr == f"Port {port} is taken: choose another, as in `make run PORT=8001`.\n"


def test_an_address_that_is_not_this_machines_is_said_in_one_line(database_url: str) -> None:
    done = dev("run", DATABASE_URL=database_url, HOST="192.0.2.1", PORT=str(server.free_port()))
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr.startswith("HOST: 192.0.2.1 is no address of this machine")
    assert done.stderr.count("\n") == 1


def test_a_command_runs_with_the_database(database_url: str) -> None:
    done = dev("alembic", "current", DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert "(head)" in done.stdout


def test_an_unreachable_database_is_said_before_anything_is_served() -> None:
    done = dev("run", DATABASE_URL="postgresql://user:password@127.0.0.1:1/database", PORT=str(server.free_port()))
    assert done.returncode != 0
    assert "the database of DATABASE_URL cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "documentation" not in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WEB_CONCURRENCY", "auto", "must be the number of worker processes"),
        ("HOST", "api.example.com", "must be an IP address of this machine"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be one of always_on"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(database_url: str, name: str, value: str, says: str) -> None:
    collector = "http://127.0.0.1:1"
    done = dev("run", DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=collector, **{name: value})
    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith(f"{name}: {says}")
    assert done.stderr.count("\n") == 1


def test_another_folder_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev", "run"],
        cwd=tmp_path,
        env=server.environment(PYTHONPATH=str(server.BACKEND)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == os.EX_USAGE
    assert done.stderr == f"{tmp_path} is not the service's folder: run this in backend/, as make does.\n"
