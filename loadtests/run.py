"""`make loadtest`: starts a database and the service as in production, or uses the deployment at HOST, and runs Locust.

Environment: HOST, SCENARIO, USERS, DURATION, PROCESSES. The exit code is Locust's: it is not zero if a gate is missed.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError
from urllib.request import urlopen

from groundwork.dev.__main__ import BACKEND, DATA, ROOT, database
from groundwork.dev.children import end_with_parent
from groundwork.dev.postgres import EmbeddedPostgresError
from loadtests.scenarios import SCENARIOS

LOCUST = ROOT / ".venv-load" / "bin" / "locust"
REPORT = ROOT / "loadtests" / "report"
START_SECONDS = 60


def main() -> int:
    scenario = os.environ.get("SCENARIO") or "crud"
    if scenario not in SCENARIOS:
        sys.exit(f"SCENARIO: there is no {scenario}; choose from {', '.join(SCENARIOS)}.")
    modules = (ROOT / "loadtests").glob("*.py")
    if not any(re.search(r"^class \w+\(\w*User\):", path.read_text(), re.MULTILINE) for path in modules):
        sys.exit("There are no users to simulate yet: loadtests/README.md says how to write them.")
    # SIGTERM has the same effect as Ctrl-C: everything that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(REPORT, ignore_errors=True)
    REPORT.mkdir(parents=True)
    print(f"{scenario}: {SCENARIOS[scenario].about}", flush=True)
    try:
        with target(scenario) as (address, is_ours):
            code = load(scenario, address, clear_up=not is_ours)
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    print(f"The report is in {REPORT.relative_to(ROOT)}/report.html.")
    return code


@contextmanager
def target(scenario: str) -> Iterator[tuple[str, bool]]:
    """The address to load, and whether its database is removed after the test."""
    host = os.environ.get("HOST", "")
    if host:
        if not host.startswith(("http://", "https://")):
            sys.exit(f"HOST: {host} must be a deployment's address, such as https://api.example.com.")
        wait_until_it_answers(f"{host.rstrip('/')}/health/ready", seconds=10)
        yield host.rstrip("/"), False
    elif scenario == "generator":
        with server("uvicorn", "loadtests.nothing:app", "--lifespan", "off", "--log-level", "warning") as address:
            wait_until_it_answers(address, START_SECONDS)
            yield address, True
    else:
        with own_database() as is_temporary, server("serve") as address:
            wait_until_it_answers(f"{address}/health/ready", START_SECONDS)
            yield address, is_temporary


@contextmanager
def own_database() -> Iterator[bool]:
    """Migrate the database of DATABASE_URL. Without one, make a database for this test. Yields whether it was made."""
    with ExitStack() as stack:
        DATA.parent.mkdir(exist_ok=True)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-", dir=DATA.parent))
        stack.enter_context(database(Path(directory) / "postgres"))
        quiet = {**os.environ, "LOG_LEVEL": "warning"}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=BACKEND, env=quiet, check=True)
        yield (Path(directory) / "postgres").exists()


@contextmanager
def server(module: str, *arguments: str) -> Iterator[str]:
    """Run a server as in production, on a port of its own. Its log becomes part of the report."""
    print("Starting the service …", flush=True)
    port = free_port()
    if module == "uvicorn":
        arguments = (*arguments, "--port", str(port))
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "RELOAD": "false", "PYTHONPATH": str(ROOT)}
    with (REPORT / "server.log").open("wb") as log:
        process = start([sys.executable, "-m", module, *arguments], BACKEND, settings, log=log.fileno())
    try:
        yield f"http://127.0.0.1:{port}"
        if process.poll() is not None:
            print(f"The service ended during the test, with {process.returncode}: see server.log.", file=sys.stderr)
    finally:
        process.terminate()
        process.wait()


def load(scenario: str, address: str, *, clear_up: bool) -> int:
    """Run Locust until it ends by itself, or early after Ctrl-C. Returns its exit code."""
    command = [str(LOCUST), "-f", "loadtests/locustfile.py", "--headless", "--only-summary", "--loglevel", "WARNING"]
    command += ["--host", address, "--scenario", scenario, "--report", str(REPORT), "--stop-timeout", "30"]
    command += ["--csv", str(REPORT / "locust"), "--csv-full-history"]
    command += ["--clear-up"] * clear_up
    for variable, option in (("USERS", "--users"), ("DURATION", "--run-time"), ("PROCESSES", "--processes")):
        if value := os.environ.get(variable):
            command += [option, value]
    locust = start(command, ROOT, {})
    try:
        while True:
            try:
                return locust.wait()
            except KeyboardInterrupt:
                print("Ending early …", flush=True)
    finally:
        locust.terminate()
        locust.wait()


def start(
    command: list[str], directory: Path, settings: Mapping[str, str], log: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one. With a log, it is a server, which Ctrl-C must not end before clients."""
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, **settings},
        stdout=log,
        stderr=log,
        preexec_fn=end_with_parent(),  # noqa: PLW1509 - no threads here
        start_new_session=log is not None,
    )


def wait_until_it_answers(address: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(address, timeout=seconds):
                return
        except (URLError, OSError) as error:
            if time.monotonic() > deadline:
                give_up(address, error)
            time.sleep(0.1)


def give_up(address: str, error: Exception) -> NoReturn:
    log = REPORT / "server.log"
    sys.exit(f"{address} does not answer: {error}. {log.read_text()[-2000:] if log.exists() else ''}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
