"""A PostgreSQL server that a test stops, kills and starts again, always on the same port."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from groundwork.dev.children import end_with_parent
from groundwork.dev.postgres import EmbeddedPostgres, find_binaries, nobody
from groundwork.tests.process.server import free_port

FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT

_START_SECONDS = 60
# fsync is off. What a killed server acknowledged is still there afterwards, because the machine itself goes on.
_SETTINGS = {"fsync": "off", "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}


class Cluster:
    """A folder with data, and the PostgreSQL server that uses it."""

    def __init__(self, data: Path, user_info: str, **settings: str) -> None:
        self.data = data
        self.port = free_port()
        self._user_info = user_info
        self._settings = {**_SETTINGS, "port": str(self.port), **settings}
        self._log = data.with_name(f"{data.name}.log")
        self._process: subprocess.Popen[Any] | None = None

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        return f"postgresql://{self._user_info}@127.0.0.1:{port or self.port}/{database}"

    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(find_binaries() / "bin/postgres"), "-D", str(self.data), *options]
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent(signal.SIGINT), **_owner(),  # noqa: PLW1509
            )  # fmt: skip
        note = self.data / "postmaster.pid"
        deadline = time.monotonic() + _START_SECONDS
        while not (note.exists() and _is_ready(note.read_text(), process.pid)):
            assert process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def freeze(self) -> None:
        """Suspend every process of the server. The kernel still takes connections, but nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process:
            pid = self._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            for each in (pid, *map(int, children.read_text().split())):
                with suppress(ProcessLookupError):
                    os.kill(each, number)

    def stop(self, how: signal.Signals = FAST) -> None:
        """End the server and wait until it has ended."""
        if self._process:
            self._process.send_signal(how)
            self._signal_all(signal.SIGCONT)
            self._process.wait(60)
            self._process = None

    @contextmanager
    def standby(self) -> Iterator["Cluster"]:
        """A started copy that follows this server and takes no writes."""
        data = self.data.with_name("standby")
        program = str(find_binaries() / "bin/pg_basebackup")
        command = [program, "-D", str(data), "-d", self.url(), "--write-recovery-conf", "--checkpoint=fast"]
        subprocess.run(command, cwd="/", check=True, capture_output=True, **_owner())
        with running(Cluster(data, self._user_info)) as standby:
            yield standby


@contextmanager
def new_cluster(**settings: str) -> Iterator[Cluster]:
    """A started server with these settings. Its data is removed at the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # If the tests run as root, PostgreSQL runs as another account, which must be able to enter the folder.
        folder.chmod(0o755)
        with running(make_cluster(folder, **settings)) as cluster:
            yield cluster


def make_cluster(folder: Path, **settings: str) -> Cluster:
    """A server that is not started, with its data in this folder."""
    data = folder / "cluster"
    with EmbeddedPostgres(folder, durable=False) as embedded:
        user_info = urlsplit(embedded.url()).netloc.rpartition("@")[0]
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host replication all 127.0.0.1/32 scram-sha-256\n")
    # This file is not the server's own, and the account that copies the folder could not read it.
    (data / "superuser_password").unlink()
    # The same account makes a standby beside this folder.
    if _owner():
        os.chown(folder, *nobody())
    return Cluster(data, user_info, **settings)


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Start the server, and kill it at the end of the block."""
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop(IMMEDIATE)


def _is_ready(note: str, pid: int) -> bool:
    return bool(re.fullmatch(rf"{pid}\n.*\n(ready|standby)\s*", note, re.DOTALL))


def _owner() -> dict[str, Any]:
    """The options of a process that runs as another account than root, because PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    user, group = nobody()
    return {"user": user, "group": group, "extra_groups": []}
