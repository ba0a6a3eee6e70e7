"""`python -m groundwork.dev MODULE …`: runs a module with DATABASE_URL set, by default to an embedded PostgreSQL.

`python -m groundwork.dev run` is what `make run` calls: it migrates, then serves, and restarts when the code changes.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from groundwork.data.connector import connection_target
from groundwork.dev.children import end_with_parent
from groundwork.dev.migration import UNKNOWN_REVISION
from groundwork.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError, InUseError
from groundwork.dev.watch import wait_for_change
from groundwork.serve.env_file import read_variables
from groundwork.serve.listening import in_url, no_address, probe
from groundwork.serve.settings import ENV_FILE, Settings, load_settings


def _service_folder() -> Path:
    """The folder `backend`, from inside it or from the repository's root. This file may be in a package elsewhere."""
    here = Path.cwd()
    return here / "backend" if (here / "backend").is_dir() else here


BACKEND = _service_folder()
ROOT = BACKEND.parent
DATA = ROOT / ".data" / "postgres"
MIGRATE = ("groundwork.dev.migration", "upgrade")
# gunicorn's WORKER_BOOT_ERROR and APP_LOAD_ERROR.
_CODE_CANNOT_BE_LOADED = (3, 4)
# What Python ends with after an error that nobody expected.
_DEFECT = 1
# As python -m does, with the way of showing errors that all commands here have.
_RUN_MODULE = (
    "import runpy, sys, groundwork.dev; del sys.argv[0];"
    " runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
_MISTAKE = "\n  The code cannot be loaded: the mistake is above. Waiting for the next save; Ctrl-C ends it.\n"
_NOT_MIGRATED = (
    "\n  The migrations have not run: the reason is above. The next save tries them again; Ctrl-C ends it.\n"
)
_AGAIN = "  Saved. Trying again …\n"


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return os.EX_USAGE
    if not (BACKEND / "alembic.ini").exists():
        print(f"{BACKEND} is not the service's folder: run this in backend/, as make does.", file=sys.stderr)
        return os.EX_USAGE
    # A person reads what these commands say, also in a file.
    os.environ["LOG_FORMAT"] = read_variables(ENV_FILE).get("LOG_FORMAT", "text")
    try:
        if arguments == ["run"]:
            with database():
                return serve()
        with database(join=True):
            return run(*arguments)
    except EmbeddedPostgresError as error:
        print(error, file=sys.stderr)
        return os.EX_UNAVAILABLE


@contextmanager
def database(data: Path = DATA, *, join: bool = False) -> Iterator[None]:
    """Make sure that DATABASE_URL is set while the block runs.

    Args:
        join: whether to use the PostgreSQL of a running `make run`.
    """
    if "DATABASE_URL" in read_variables(ENV_FILE):
        yield
        return
    first = "" if data.exists() else " for the first time, which takes some seconds"
    if first or not join:  # a prompt starts at once, and its server may run already
        print(f"Starting PostgreSQL in {data.relative_to(ROOT)}{first} …", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        try:
            url = stack.enter_context(EmbeddedPostgres(data)).url()
        except InUseError as error:
            if not join:
                raise
            url = error.url()
        os.environ["DATABASE_URL"] = url
        yield


def serve() -> int:
    for name, value in {"WEB_CONCURRENCY": "1", "RELOAD": "true"}.items():
        if name not in read_variables(ENV_FILE):
            os.environ[name] = value
    settings = load_settings()
    if problem := why_not_listen(settings.host, settings.port):
        print(problem, file=sys.stderr)
        return os.EX_UNAVAILABLE
    while failed := run(*MIGRATE):
        if failed == UNKNOWN_REVISION:  # as after a change of the branch; it may serve nevertheless
            break
        if failed not in (_DEFECT, os.EX_DATAERR):
            return os.EX_OK if failed == -signal.SIGINT else failed
        if not wait_for_change(BACKEND, _MISTAKE if failed == _DEFECT else _NOT_MIGRATED):
            return os.EX_OK
        print(_AGAIN, flush=True)
    print(_started(settings), flush=True)
    while (status := run("serve")) in _CODE_CANNOT_BE_LOADED:
        if not wait_for_change(BACKEND, _MISTAKE):
            return os.EX_OK
        print(_AGAIN, flush=True)
    return os.EX_OK if status == -signal.SIGINT else status  # Ctrl-C, before gunicorn had a handler for it


def _started(settings: Settings) -> str:
    """The lines that say what runs where."""
    address = f"http://{in_url(settings.host)}:{settings.port}"
    target = connection_target(settings.database_url.get_secret_value())
    host = target.hosts[0]
    return f"""
  API            {address}
  Documentation  {address}/docs
  Database       {target.database} on {host.name}:{host.port}; make psql opens it, make seed adds example data
  Code           restarts when a file in backend/ is saved
  Stop           Ctrl-C
"""


def run(module: str, *arguments: str) -> int:
    """Run a module in the backend's folder until it ends. Signals that ask this process to stop are passed on to it.

    Ctrl-C is not passed on, because the terminal sends it to both processes.
    """
    program = [sys.executable, "-c", _RUN_MODULE, module, *arguments]
    command = subprocess.Popen(program, cwd=BACKEND, preexec_fn=end_with_parent())  # noqa: PLW1509
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: command.send_signal(number))
    signal.signal(signal.SIGHUP, lambda *_: command.terminate())
    try:
        return command.wait()
    finally:
        # The next command would inherit SIG_IGN, and Ctrl-C would not end it while it starts.
        signal.signal(signal.SIGINT, before)


def why_not_listen(host: str, port: int) -> str | None:
    """Why this process cannot listen on the address and port, as a sentence; None if it can."""
    try:
        probe(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} is in use: choose another, as in `make run PORT=8001`."
        if error.errno == errno.EACCES:
            return f"Port {port} is reserved for the system: choose one above 1023, as in `make run PORT=8001`."
        return no_address(host)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
