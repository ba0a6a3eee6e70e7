"""The services that are measured, each started as its users start it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from groundwork.dev.__main__ import BACKEND
from loadtests.benchmark import cores
from loadtests.benchmark.wire import Answer, read_answer, request

_START_SECONDS = 60
_STOP_SECONDS = 40
_POLL_SECONDS = 0.002
_OK = 200
_LOG_BYTES = 4000
_ROOT = Path(__file__).parents[2]
_UVICORN = "uvicorn --loop uvloop --http httptools --no-access-log --log-level warning --port {port}"


@dataclass(frozen=True)
class Variant:
    name: str
    module: str
    """The arguments of `python -m`, or of `program`. `{port}` stands for the port."""
    program: tuple[str, ...] = (sys.executable, "-m")
    warm_up_seconds: float = 0
    """How long the service gets requests after its start before it is measured."""


FLOOR = Variant("floor", f"{_UVICORN} loadtests.benchmark.floor:app")
TUTORIAL = Variant("tutorial", f"{_UVICORN} loadtests.benchmark.tutorial:app")
OURS = Variant("this service", "serve")  # as in production, access log included
# V8 compiles code that has run often. In the first second, a get costs two to four times as much as in the third.
FASTIFY = Variant("fastify", "../loadtests/benchmark/fastify/server.js", ("node",), warm_up_seconds=3)


@dataclass(frozen=True)
class Service:
    """A running service."""

    pid: int
    port: int
    cores: frozenset[int]
    start_seconds: float
    """The time from the start of the process to the first answer with status 200."""


@contextmanager
def running(
    variant: Variant,
    database_url: str,
    *,
    workers: int = 1,
    ready: str = "/api/bench/tasks?limit=1",
    settings: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> Iterator[Service]:
    """Start a service. A service of one worker gets a core of its own. It is ready when the path `ready` answers 200.

    Args:
        under: a command that runs the service's command, such as Valgrind.
    """
    port = free_port()
    own_cores = cores.SERVER if workers == 1 else cores.ALL
    command = [*under, *variant.program, *variant.module.format(port=port).split()]
    environment = {
        **_inherited(),
        "PYTHONPATH": str(_ROOT),
        "DATABASE_URL": database_url,
        "DATABASE_POOL_SIZE": "10",
        "PORT": str(port),
        "WEB_CONCURRENCY": str(workers),
        "LOG_FORMAT": "json",
        "NODE_ENV": "production",
        **(settings or {}),
    }
    began = time.perf_counter()
    # The log goes to a file, as in production it goes to a pipe or a file. Our service logs a line for each request.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=BACKEND,
            env=environment,
            stdout=log,
            stderr=log,
            preexec_fn=cores.child_on(own_cores),  # noqa: PLW1509
        )
        try:
            wait_until_ready(process, port, ready, log)
            yield Service(process.pid, port, own_cores, time.perf_counter() - began)
        finally:
            _stop(process)


def import_seconds(modules: str) -> float:
    """The time from the start of an interpreter on the server's core until it has imported these modules."""
    began = time.perf_counter()
    command = [sys.executable, "-c", f"import {modules}; print()"]
    with subprocess.Popen(
        command,
        cwd=BACKEND,
        env=_inherited(),
        stdout=subprocess.PIPE,
        preexec_fn=cores.child_on(cores.SERVER),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - began


def wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: IO[bytes]) -> None:
    """
    Raises:
        RuntimeError: the path does not answer 200 within a minute. The message has the end of the log.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _status(port, path) == _OK:
            return
        time.sleep(_POLL_SECONDS)
    log.seek(0)
    raise RuntimeError(f"{path} does not answer 200:\n{log.read()[-_LOG_BYTES:].decode(errors='replace')}")


def _status(port: int, path: str) -> int:
    """The status of the answer; 0 if there is no answer."""
    try:
        return ask(port, request("GET", path))[0].status
    except OSError:
        return 0


def ask(port: int, asked: bytes) -> tuple[Answer, bytes]:
    """Send a request on a new connection. Returns the answer and its bytes.

    Raises:
        OSError: there was no whole answer.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(asked)
        data = b""
        while (answer := read_answer(data)) is None:
            part = connection.recv(65536)
            if not part:
                raise ConnectionResetError("the service closed the connection before its answer was whole")
            data += part
        return answer, data


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _inherited() -> dict[str, str]:
    """The environment of this process, without variables that would change the services or Python."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
