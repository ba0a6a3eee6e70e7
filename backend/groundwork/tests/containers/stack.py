"""The stack of docker-compose.yml, under a project name and on ports of its own."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[4]
# Containers, image, network and data have this name, so they are separate from the developer's stack.
PROJECT = "tests-of-containers"
IMAGE = f"{PROJECT}-backend"
PORT = "18080"
URL = f"http://127.0.0.1:{PORT}"
TASKS = f"{URL}/api/alice/tasks"
WAIT_SECONDS = 90


class Stack:
    """The stack of the tests. `variables` are the settings that a .env would have."""

    def __init__(self, **variables: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "PATH", "HOME"))}
        ports = {"PORT": PORT, "POSTGRES_PORT": "18081", "POOLER_PORT": "18082"}
        self._environment = {**inherited, "LOG_FORMAT": "json", **ports, **variables}

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        # The developer's .env is not read, so the tests start the stack of a fresh copy of the repository.
        command = ["docker", "compose", "--env-file", "/dev/null", "--project-name", PROJECT, "--profile", "*"]
        if arguments[0] == "up":
            command = command[:-2]
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}\n{self._log()}"
        return done

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--wait", *arguments)

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans")

    def inspect(self, service: str) -> Any:
        """What the engine knows of the service's container, even if it does not run."""
        identifier = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        (container,) = json.loads(docker("inspect", identifier))
        return container

    def exec(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.compose("exec", "--no-TTY", service, *command, check=check)

    def sql(self, statement: str) -> str:
        return self.psql("--tuples-only", "--no-align", "-c", statement).stdout.strip()

    def psql(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.exec("db", "psql", f"--username={PROJECT}", *arguments, check=check)

    def _log(self) -> str:
        return self.compose("logs", "--tail", "50", check=False).stdout


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in {WAIT_SECONDS} s: {what}"
        time.sleep(0.1)


def status(path: str) -> int:
    """The status of a GET; 0 if there is no answer."""
    try:
        return httpx.get(f"{URL}{path}", timeout=20).status_code
    except httpx.TransportError:
        return 0


def create(title: str) -> httpx.Response:
    return httpx.post(TASKS, json={"title": title}, timeout=30)


def titles() -> list[str]:
    return [task["title"] for task in httpx.get(TASKS, timeout=30).raise_for_status().json()]
