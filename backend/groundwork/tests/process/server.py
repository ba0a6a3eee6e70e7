"""The service as it runs in production: gunicorn, its workers, a real port."""

import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

BACKEND = Path(__file__).parents[3]
COMMAND = [sys.executable, "serve.py"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "app.main:app"]
STOCK = "groundwork.tests.process.stock:app"
"""The service with `fast=False`."""
START_SECONDS = 30
default_application: str | None = None
"""The application that `running` starts instead of the service's own. With `--stock`, it is `STOCK`."""


def environment(**variables: str) -> dict[str, str]:
    """The environment of this process, without the service's variables and with these."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # Tests look for warnings in the log. A busy machine or a slow client must not cause warnings about slow requests.
    never = {"SLOW_REQUEST_SECONDS": "3600", "SLOW_STATEMENT_SECONDS": "3600"}
    return {**inherited, "LOG_FORMAT": "json", **never, **variables}


# These ports are below those of outgoing connections. Test runs at the same time begin at different ports.
_FIRST_PORT, _LAST_PORT = 10_000, 32_767
_ports = itertools.count(secrets.randbelow(_LAST_PORT - _FIRST_PORT))


def free_port() -> int:
    """A port where nothing listens. Each call returns another one."""
    while True:
        port = _FIRST_PORT + next(_ports) % (_LAST_PORT - _FIRST_PORT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """A started service. `url` is its address, and `log` returns what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, host: str = "127.0.0.1") -> None:
        self.process = process
        self.port = port
        self.url = f"http://{host}:{port}"
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log. Each must be one JSON object."""
        return [json.loads(line) for line in self.log().splitlines()]

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: int = signal.SIGTERM, timeout_seconds: float = 40) -> int:
        """End the service. Returns gunicorn's exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds)

    def wait_for_new_workers(self, before: list[int]) -> None:
        """Wait until none of these workers is alive, and new ones serve."""
        deadline = time.monotonic() + 20
        while not set(before).isdisjoint(self.workers()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.wait_until_live()

    def wait_until_live(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health/live").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the service did not start:\n{self.log()}")


@contextmanager
def running(directory: Path, *, application: str | None = None, **variables: str) -> Iterator[Server]:
    """Start the service with these environment variables. At the end of the block, end it if it still runs.

    Args:
        application: the application to start instead of the service's own.
    """
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    application = application or default_application
    with running_command([*gunicorn, application] if application else COMMAND, directory, **variables) as server:
        yield server


@contextmanager
def running_command(command: list[str], directory: Path, **variables: str) -> Iterator[Server]:
    """Start the service as `running` does, but by another command."""
    port = free_port()
    log = directory / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=BACKEND, env=environment(PORT=str(port), **variables), stdout=output, stderr=output
        )
    server = Server(process, port, log, "[::1]" if ":" in variables.get("HOST", "") else "127.0.0.1")
    try:
        server.wait_until_live()
        yield server
    finally:
        if process.poll() is None:
            server.stop()
