"""The process that runs `postgres` for `dev/postgres.py`, and stops it when its parent has ended.

Standard input is a pipe that only the parent holds open: when it closes, the server is stopped. Standard output gets
one answer, in JSON. Everything else goes to the log. The data directory holds `cluster` (PostgreSQL's own files),
`postgres.log` and `supervisor.lock`.
"""

import fcntl
import hashlib
import json
import locale
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from groundwork.dev.children import end_with_parent
from groundwork.dev.postgres import DATABASE, OWN_SERVER, USER, EmbeddedPostgresError, Request, nobody

_POLL_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 1.0
_START_SECONDS: Final = 60.0
_LOCK_SECONDS: Final = 30.0
_START_ATTEMPTS: Final = 4
_ATTEMPT_PAUSE_SECONDS: Final = 0.2
_LOG_BYTES: Final = 10_000_000
_STOP_STEPS: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_NAME_PREFIX: Final = "cluster_name=embedded-"
_PASSWORD_FILE: Final = "superuser_password"  # noqa: S105
_UNSAFE_BUT_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class _InUseError(EmbeddedPostgresError):
    """Another supervisor holds the data."""


class _ParentGoneError(Exception):
    """The parent has ended, so nobody needs the server."""


class Supervisor:
    """One server on one data directory."""

    def __init__(self, request: Request) -> None:
        """Keep the request. Nothing is read or written before `run`."""
        self.directory = Path(request.directory)
        self.cluster = self.directory / "cluster"
        self.log = self.directory / "postgres.log"
        self.binaries = Path(request.binaries) / "bin"
        self.durable = request.durable
        self.settings = request.settings
        # The server's command line holds this name. By it, a later supervisor recognises a server that still runs.
        path = os.fsencode(self.directory.resolve())
        self.name = _NAME_PREFIX + hashlib.sha256(path).hexdigest()[:16]

    def run(self) -> None:
        """Run the server until the parent has ended. Errors before it is ready are sent to the parent, not raised."""
        process: subprocess.Popen[bytes] | None = None
        try:
            port, process = self._prepare_and_start()
            _answer({"port": str(port), "password": self._password()})
            os.dup2(2, 1)  # closes standard output, which the parent reads to its end
            while process.poll() is None and not _parent_gone(_WATCH_SECONDS):
                self._keep_log_small()
        except _InUseError as error:
            _answer({"error": str(error), **self._address_in_use()})
        except EmbeddedPostgresError as error:
            _answer({"error": str(error)})
        except OSError as error:
            _answer({"error": self._sentence(str(error))})
        except _ParentGoneError:
            pass
        finally:
            if process is not None:
                _end_child(process)

    def _prepare_and_start(self) -> tuple[int, subprocess.Popen[bytes]]:
        self.directory.mkdir(parents=True, exist_ok=True)
        os.umask(0o077)
        self._lock()
        self._open_log()
        if self.cluster.exists():
            self._check_version()
            self._end_leftover()
        else:
            self._make_cluster()
        # Last, because the initdb of a killed supervisor removes its directory itself when it ends.
        for unfinished in self.directory.glob("unfinished-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        return self._start()

    def _sentence(self, problem: str) -> str:
        return (
            f"PostgreSQL cannot run in {self.directory} ({problem}): see {self.log}, use another"
            f" data directory or {OWN_SERVER}."
        )

    def _lock(self) -> None:
        """Take a lock that lasts as long as this process. Wait for it only while another server is stopping."""
        file = os.open(self.directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(file):
            owner = os.pread(file, 20, 0).decode().strip()
            if (owner and command_line(int(owner))) or time.monotonic() > deadline:
                raise _InUseError(
                    f"Another process ({owner}) is using the database in {self.directory}: stop it or {OWN_SERVER}."
                )
            _pause(_POLL_SECONDS)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getppid()).encode(), 0)

    def _open_log(self) -> None:
        file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 2)
        os.close(file)
        self._keep_log_small()

    def _keep_log_small(self) -> None:
        if os.fstat(2).st_size > _LOG_BYTES:
            previous = self.log.with_suffix(".log.1")
            previous.unlink(missing_ok=True)
            shutil.copyfile(self.log, previous)
            os.ftruncate(2, 0)

    def _log_complaint(self, start: int) -> str:
        """The line of the log, from byte `start` on, that best says what went wrong."""
        with self.log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        complaints = [line for line in lines if re.search("(error|fatal|panic): ", line, re.I)]
        return (complaints or lines or ["nothing in the log"])[-1]

    def _check_version(self) -> None:
        made_by = (self.cluster / "PG_VERSION").read_text().strip()
        answer = subprocess.run([self.binaries / "postgres", "--version"], check=False, capture_output=True, text=True)
        version = re.search(r"\) (\d+)", answer.stdout)
        if version is None:
            raise EmbeddedPostgresError(self._sentence(f"it does not start: {answer.stderr.strip()}"))
        if made_by != version[1]:
            raise EmbeddedPostgresError(
                f"The data in {self.directory} was made by PostgreSQL {made_by} and this is"
                f" PostgreSQL {version[1]}: dump it with the old version and load it here, delete"
                f" the directory to begin anew, or {OWN_SERVER}."
            )

    def _end_leftover(self) -> None:
        """Stop a server that outlived its supervisor, and remove the note of one that has ended."""
        note = self.cluster / "postmaster.pid"
        number = _lines(note)[0]
        pid = int(number) if number.isdecimal() else 0
        command = command_line(pid)
        if self.name in command:
            _end(pid, lambda: self.name not in command_line(pid))
        elif "bin/postgres" in command and _NAME_PREFIX not in command:
            return  # A server that no supervisor started. PostgreSQL itself refuses to start beside it.
        # The process id may belong to another program by now. PostgreSQL would mistake that program for a server.
        note.unlink(missing_ok=True)

    def _make_cluster(self) -> None:
        """Create the data under another name and rename it, so that it is never incomplete."""
        cluster = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self.directory))
        if os.geteuid() == 0:
            os.chown(cluster, *nobody())
        password = secrets.token_urlsafe(24)
        log_start = os.fstat(2).st_size
        initdb = ["initdb", f"--username={USER}", "--auth=trust", "--encoding=UTF8"]
        places = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        safety = [] if self.durable else ["--no-sync"]
        statements = f"ALTER ROLE {USER} PASSWORD '{password}';\nCREATE DATABASE {DATABASE} STRATEGY file_copy;\n"
        done = self._run(cluster, [*initdb, *places, f"--lc-ctype={_character_type()}", *safety])
        # The single-user mode has no network, so the password is set before anybody can connect.
        single = ["postgres", "--single", *self._options({}), "postgres"]
        if not done or not self._run(cluster, single, statements):
            raise EmbeddedPostgresError(self._sentence(self._log_complaint(log_start)))
        (cluster / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        (cluster / _PASSWORD_FILE).write_text(password)
        cluster.rename(self.cluster)

    def _address_in_use(self) -> dict[str, str]:
        """Where the other supervisor's server listens; empty while it is starting."""
        note = _lines(self.cluster / "postmaster.pid")
        if note[-1].rstrip() != "ready":
            return {}
        return {"port": note[3].strip(), "password": self._password()}

    def _password(self) -> str:
        return (self.cluster / _PASSWORD_FILE).read_text()

    def _start(self) -> tuple[int, subprocess.Popen[bytes]]:
        """Start the server, on its last port or on a free one; return once it accepts connections."""
        wanted, log_start = self._last_port(), 0
        for _ in range(_START_ATTEMPTS):
            log_start = os.fstat(2).st_size
            port, wanted = _free_port(wanted), 0
            network = {
                "port": str(port),
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": "",
            }
            options = self._options(self.settings | network)
            process = self._popen(self.cluster, ["postgres", "-c", self.name, *options])
            try:
                if self._wait_until_ready(process):
                    return port, process
            except BaseException:
                _end_child(process)
                raise
            # Another program may have taken the port, and the shared memory of a killed server takes a moment to go.
            _pause(_ATTEMPT_PAUSE_SECONDS)
        raise EmbeddedPostgresError(self._sentence(self._log_complaint(log_start)))

    def _last_port(self) -> int:
        """The port in the options that PostgreSQL has noted at its last start; 0 if there was none."""
        found = re.search(r"port=(\d+)", _lines(self.cluster / "postmaster.opts")[0])
        return int(found[1]) if found else 0

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until PostgreSQL notes that it is ready; False when it has ended instead."""
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None:
            note = _lines(self.cluster / "postmaster.pid")
            if note[0] == str(process.pid) and note[-1].rstrip() == "ready":
                return True
            if time.monotonic() > deadline:
                problem = f"it was not ready after {_START_SECONDS:.0f} seconds"
                raise EmbeddedPostgresError(self._sentence(problem))
            _pause(_POLL_SECONDS)
        return False

    def _options(self, settings: dict[str, str]) -> list[str]:
        settings = ({} if self.durable else _UNSAFE_BUT_FAST) | settings
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _run(self, cluster: Path, command: list[str], text: str = "") -> bool:
        """Run a program to its end, with `text` as its input; True when it succeeded."""
        process = self._popen(cluster, command, subprocess.PIPE)
        process.communicate(text.encode())
        return process.returncode == 0

    def _popen(self, cluster: Path, command: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL in the cluster, for root as the owner of the cluster."""
        as_root = os.geteuid() == 0
        owner = cluster.stat() if as_root else None
        # The process enters the directory before it drops its privileges, so a parent directory may be closed to it.
        by_link = as_root and sys.platform == "linux"
        location = "/proc/self/cwd" if by_link else str(cluster)
        return subprocess.Popen(
            [self.binaries / command[0], *_location_after_mode(command[1:], location)],
            cwd=cluster,
            env=_environment(),
            stdin=stdin,
            stdout=2,
            stderr=2,
            user=owner.st_uid if owner else None,
            group=owner.st_gid if owner else None,
            extra_groups=[] if owner else None,
            preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509
        )


def _location_after_mode(arguments: list[str], location: str) -> list[str]:
    """The arguments with -D after --single, which PostgreSQL accepts only as the first one."""
    modes = 1 if arguments[:1] == ["--single"] else 0
    return [*arguments[:modes], "-D", location, *arguments[modes:]]


def _environment() -> dict[str, str]:
    """The environment without the variables that would change the server, such as PGPORT or LC_TIME."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _character_type() -> str:
    """The locale's LC_CTYPE for the parts of PostgreSQL that ask the system."""
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    return "C.UTF-8"


def _end(pid: int, has_ended: Callable[[], bool]) -> None:
    """Ask a server to stop; force it when it does not."""
    for number, seconds in _STOP_STEPS:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if has_ended():
                return
            time.sleep(_POLL_SECONDS)


def _end_child(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _end(process.pid, lambda: process.poll() is not None)


def command_line(pid: int) -> str:
    """The command line of a process; empty when it has ended or is a zombie."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def _lines(file: Path) -> list[str]:
    """The lines of a file, at least one. A missing file counts as an empty one."""
    try:
        return file.read_text().splitlines() or [""]
    except FileNotFoundError:
        return [""]


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port(wanted: int) -> int:
    """This port if nothing listens there, else another one."""
    with socket.socket() as probe:
        # As PostgreSQL does. Otherwise connections of the last server would keep the port for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _parent_gone(seconds: float) -> bool:
    """Wait for at most `seconds`. True as soon as the parent's end of the pipe is closed."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable)


def _pause(seconds: float) -> None:
    if _parent_gone(seconds):
        raise _ParentGoneError


def _answer(reply: dict[str, str]) -> None:
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(reply).encode())


def _stop_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def main(request: str) -> None:
    """Run a supervisor; `request` is a `Request` as JSON."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop_on_signal)
    Supervisor(Request(**json.loads(request))).run()
