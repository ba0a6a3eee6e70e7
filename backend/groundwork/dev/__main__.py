"""`python -m groundwork.dev COMMAND …`: runs a command with DATABASE_URL set, by default to a PostgreSQL of its own.

`python -m groundwork.dev run` is the command behind `make run`: migrate, then serve, restarting when the code changes.
"""

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from groundwork.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError, InUseError
from groundwork.serve.env_file import read_variables
from groundwork.serve.listening import in_url, no_address, probe
from groundwork.serve.settings import ENV_FILE, load_settings

# The service's folder, in which `make` runs this. The library may stand elsewhere, as a package.
BACKEND = Path.cwd()
ROOT = BACKEND.parent
_PR_SET_PDEATHSIG = 1
DATA = ROOT / ".data" / "postgres"


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return os.EX_USAGE
    if not (BACKEND / "alembic.ini").exists():
        print(f"{BACKEND} is not the service's folder: run this in backend/, as make does.", file=sys.stderr)
        return os.EX_USAGE
    read_variables(ENV_FILE)
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
    """Make sure that DATABASE_URL is set while the block runs; `join` allows the server of a `make run` beside it."""
    if "DATABASE_URL" in read_variables(ENV_FILE):
        yield
        return
    print(f"DATABASE_URL is not set: starting a PostgreSQL, with its data in {data.relative_to(ROOT)}", flush=True)
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
    if failed := run("alembic", "upgrade", "head"):
        return failed
    address = f"http://{in_url(settings.host)}:{settings.port}"
    print(f"\n  The API is at {address}, its documentation at {address}/docs. Ctrl-C stops it.\n", flush=True)
    return run("serve")


def run(module: str, *arguments: str) -> int:
    """Run a module's command in the backend's folder to its end, and hand it the signals that ask this process to stop.

    Ctrl-C reaches it by itself, as one of the terminal's processes.
    """
    command = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=BACKEND, preexec_fn=end_with_parent())  # noqa: PLW1509
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: command.send_signal(number))
    signal.signal(signal.SIGHUP, lambda *_: command.terminate())
    return command.wait()


def end_with_parent() -> Callable[[], None] | None:
    """What the child calls so that it ends even when this process is killed; only Linux has it."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def why_not_listen(host: str, port: int) -> str | None:
    """What to say when nothing can listen there; None when it can."""
    try:
        probe(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} is taken: choose another, as in `make run PORT=8001`."
        if error.errno == errno.EACCES:
            return f"Port {port} is the system's: choose one above 1023, as in `make run PORT=8001`."
        return no_address(host)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
