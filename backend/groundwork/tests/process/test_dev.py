"""`make run`: what it says when it cannot serve, and how it goes on after a mistake in the code."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from alembic.script import ScriptDirectory

from groundwork.dev import __main__ as main
from groundwork.dev import psql, reset
from groundwork.dev.postgres import EmbeddedPostgres, find_binaries
from groundwork.testing import postgres
from groundwork.tests.process import server

SEEDED = "SELECT count(*), count(*) FILTER (WHERE completed) FROM tasks WHERE user_id = 'seeded'"


def dev(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "groundwork.dev", *arguments],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_said_in_one_line(database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = dev("run", DATABASE_URL=database_url, PORT=str(port))
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr == f"Port {port} is in use: choose another, as in `make run PORT=8001`.\n"


def test_an_address_that_is_not_this_machines_is_said_in_one_line(database_url: str) -> None:
    done = dev("run", DATABASE_URL=database_url, HOST="192.0.2.1", PORT=str(server.free_port()))
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr.startswith("HOST: 192.0.2.1 is no address of this machine")
    assert done.stderr.count("\n") == 1


def test_a_command_runs_with_the_database(database_url: str) -> None:
    done = dev("alembic", "current", DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    assert "(head)" in done.stdout


@pytest.mark.parametrize("command", [["groundwork.dev.migration", "upgrade"], ["alembic", "upgrade", "head"]])
@pytest.mark.parametrize("format", ["", "json"])
def test_a_command_speaks_to_a_person_unless_the_format_of_the_log_is_set(
    postgres_server: postgres.Server, command: list[str], format: str
) -> None:
    with postgres_server.database() as url:
        done = dev(*command, DATABASE_URL=url, LOG_FORMAT=format)
    assert done.stderr
    assert [line.startswith("{") for line in done.stderr.splitlines()] == [bool(format)] * done.stderr.count("\n")


def test_an_unreachable_database_is_said_before_anything_is_served() -> None:
    done = dev("run", DATABASE_URL="postgresql://user:password@127.0.0.1:1/database", PORT=str(server.free_port()))
    assert done.returncode != 0
    assert "the database of DATABASE_URL cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "documentation" not in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WEB_CONCURRENCY", "auto", "must be the number of worker processes"),
        ("HOST", "api.example.com", "must be an IP address of this machine"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "must be one of always_on"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(database_url: str, name: str, value: str, says: str) -> None:
    collector = "http://127.0.0.1:1"
    done = dev("run", DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=collector, **{name: value})
    assert done.returncode == os.EX_CONFIG
    assert done.stderr.startswith(f"{name}: {says}")
    assert done.stderr.count("\n") == 1


def test_another_folder_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev", "run"],
        cwd=tmp_path,
        env=server.environment(PYTHONPATH=str(server.BACKEND)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == os.EX_USAGE
    assert done.stderr == f"{tmp_path} is not the service's folder: run this in backend/, as make does.\n"


def test_a_command_joins_the_database_of_make_run_and_does_not_say_that_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "ROOT", tmp_path)
    monkeypatch.setenv("DATABASE_URL", "")  # so that monkeypatch restores its value after the test
    monkeypatch.delenv("DATABASE_URL")
    data = tmp_path / "data"
    with main.database(data):
        running = os.environ.pop("DATABASE_URL")
        assert capsys.readouterr().err.startswith("Starting PostgreSQL in data for the first time")
        with main.database(data, join=True):
            assert os.environ.pop("DATABASE_URL") == running
        assert capsys.readouterr().err == ""


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded database with a table, whose server does not run."""
    monkeypatch.setattr(reset, "read_variables", lambda _: {"CONFIRM": "yes"})
    monkeypatch.chdir(tmp_path)
    with EmbeddedPostgres(tmp_path / "data") as running:
        assert sql(running, "CREATE TABLE left_over (n int)") == ""
    return tmp_path / "data"


def sql(running: EmbeddedPostgres, statement: str) -> str:
    command = [str(find_binaries() / "bin" / "psql"), running.url(), "-Atqc", statement]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_reset_empties_the_embedded_database(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reset.main(own_data) == 0
    assert "is empty. Next: make run" in capsys.readouterr().out
    with EmbeddedPostgres(own_data) as running:
        assert sql(running, "SELECT to_regclass('left_over') IS NULL") == "t\n"


def test_reset_deletes_nothing_without_a_yes(
    own_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reset, "read_variables", lambda _: {})
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert reset.main(own_data) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err.endswith("If you mean it, run make reset CONFIRM=yes\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert reset.main(own_data) == os.EX_UNAVAILABLE
    assert capsys.readouterr().err.startswith("Nothing was deleted: ")
    with EmbeddedPostgres(own_data) as running:
        assert sql(running, "SELECT to_regclass('left_over')") == "left_over\n"


def test_reset_says_that_make_run_must_be_stopped(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedPostgres(own_data) as running:
        assert reset.main(own_data) == os.EX_UNAVAILABLE
        assert "stop it, then make reset" in capsys.readouterr().err
        assert sql(running, "SELECT to_regclass('left_over')") == "left_over\n"


def test_reset_leaves_a_database_of_ones_own_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev.reset"],
        cwd=server.BACKEND,
        env=server.environment(DATABASE_URL="postgresql://127.0.0.1:1/mine", CONFIRM="yes"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == os.EX_USAGE
    assert done.stderr.startswith("DATABASE_URL is set, and make reset empties only")


def test_seed_adds_rows_for_the_user(database_url: str) -> None:
    done = dev("groundwork.dev.seed", DATABASE_URL=database_url, USER_ID="seeded", N="7")
    assert (done.returncode, done.stdout.split(". ")[0]) == (0, "7 of each kind were added for seeded"), done.stderr
    asked = dev("groundwork.dev.psql", "-Atc", SEEDED, DATABASE_URL=database_url)
    assert (asked.stdout, asked.returncode) == ("7|2\n", 0), asked.stderr


@pytest.mark.parametrize("command", ["seed", "shell"])
def test_a_command_says_that_the_database_is_not_migrated(postgres_server: postgres.Server, command: str) -> None:
    with postgres_server.database() as url:
        done = dev(f"groundwork.dev.{command}", DATABASE_URL=url)
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr == (
        "The database is not migrated: its schema is missing, or older than the code."
        f" Run make migrate, then make {command} again.\n"
    )


@pytest.mark.parametrize("command", ["seed", "shell"])
def test_a_command_says_that_the_database_is_that_of_newer_code(postgres_server: postgres.Server, command: str) -> None:
    with postgres_server.database(postgres.TEMPLATE) as url:
        name = url.rpartition("/")[2]
        postgres_server.execute("UPDATE alembic_version SET version_num = 'newer'", database=name)
        assert dev("groundwork.dev.seed", DATABASE_URL=url, N="1").returncode == 0  # it has all that is needed
        postgres_server.execute("ALTER TABLE tasks DROP COLUMN completed", database=name)
        done = dev(f"groundwork.dev.{command}", DATABASE_URL=url)
    assert (done.returncode, done.stderr.count("\n")) == (os.EX_UNAVAILABLE, 1), done.stderr
    assert "at revision newer, which this version does not know, and lacks tasks.completed" in done.stderr


@pytest.mark.parametrize("command", ["seed", "shell"])
def test_a_command_says_that_the_database_is_away(command: str) -> None:
    done = dev(f"groundwork.dev.{command}", DATABASE_URL="postgresql://user@127.0.0.1:1/database")
    assert (done.returncode, done.stderr.count("\n")) == (os.EX_UNAVAILABLE, 1), done.stderr
    assert done.stderr.startswith("The database does not answer: ")


@pytest.mark.parametrize("number", ["0", "many", "-1", "100001"])
def test_seed_says_what_a_number_must_be(database_url: str, number: str) -> None:
    done = dev("groundwork.dev.seed", DATABASE_URL=database_url, N=number)
    assert (done.returncode, done.stderr.count("\n")) == (os.EX_USAGE, 1)
    assert done.stderr.startswith(f"N must be a number from 1 to 100000, and is {number}:")


def test_psql_gets_the_password_in_no_argument() -> None:
    url, variables = psql.arguments_of("postgresql+asyncpg://u%40x:p%2Fw@h:5/d?sslmode=require")
    assert (url, variables) == ("postgresql://u%40x@h:5/d?sslmode=require", {"PGPASSWORD": "p/w"})
    assert psql.arguments_of("postgresql://h/d") == ("postgresql://h/d", {})


def test_psql_gets_no_parameter_that_it_would_refuse() -> None:
    url, _ = psql.arguments_of("postgresql://u@h/d?pgbouncer=true&sslmode=require&connection_limit=1")
    assert url == "postgresql://u@h/d?sslmode=require"


def prompt(lines: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the prompt with these lines as its input."""
    return subprocess.run(
        [sys.executable, "-m", "groundwork.dev", "groundwork.dev.shell"],
        cwd=server.BACKEND,
        env=server.environment(**variables),
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("format", "whole"), [("text", False), ("json", True)])
def test_the_prompt_shows_a_whole_traceback_if_the_log_is_json(database_url: str, format: str, whole: bool) -> None:
    lines = "raise KeyboardInterrupt\nawait tasks.list_tasks(database, 'nobody', limit='x')\n"
    done = prompt(lines, DATABASE_URL=database_url, LOG_FORMAT=format)
    assert done.stderr.count("Traceback") >= 1
    assert done.stderr.count("KeyboardInterrupt") == 1  # without a traceback
    assert ("data/database.py" in done.stderr) == whole, done.stderr
    assert ("LOG_FORMAT=json shows them" in done.stderr) != whole


def test_the_prompt_awaits_shows_errors_and_goes_on(database_url: str) -> None:
    lines = """\
count = (await session.exec(select(func.count()).select_from(Task))).one()
(await session.exec(select(func.nothing_such()))).all()
[count, (await session.exec(select(func.count()).select_from(Task))).one(), settings.port, tasks.list_tasks]
await tasks.list_tasks(database, "nobody", limit=1)
"""
    done = prompt(lines, DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    counts, listed = [line.removeprefix(">>> ") for line in done.stdout.splitlines() if "[" in line]
    assert re.fullmatch(r"(>>> )*\[(\d+), \2, 8000, <function list_tasks .*>\]", counts), done.stdout
    assert listed.endswith("[]")
    assert "function nothing_such() does not exist" in done.stderr
    assert "aborted" not in done.stderr


class Edited:
    """A `make run` of a copy of the service, whose code the test changes."""

    def __init__(self, backend: Path, database_url: str, **variables: str) -> None:
        self.port = server.free_port()
        self._backend, self._log = backend, backend / "run.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "groundwork.dev", "run"],
                cwd=backend,
                env=server.environment(DATABASE_URL=database_url, PORT=str(self.port), **variables),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, is_so: Callable[[], bool], *, save: str = "") -> None:
        """Wait for a condition. The file is saved again and again, because a new reloader can miss the first time."""
        deadline = time.monotonic() + server.START_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, self.log()
            if save:
                os.utime(self._backend / save)
            time.sleep(0.5)

    def serves(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health/live").is_success
        except httpx.TransportError:
            return False

    def log(self) -> str:
        return self._log.read_text()

    def add(self, path: str, code: str) -> str:
        """Add lines to a file. Returns its earlier content."""
        before = (self._backend / path).read_text()
        (self._backend / path).write_text(f"{before}\n{code}\n")
        return before

    def restore(self, path: str, content: str) -> None:
        (self._backend / path).write_text(content)


def copied(folder: Path) -> Path:
    backend = folder / "backend"
    shutil.copytree(server.BACKEND, backend, ignore=shutil.ignore_patterns("tests", "__pycache__", ".*"))
    return backend


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server) -> Iterator[Edited]:
    with postgres_server.database() as url:
        run = Edited(copied(tmp_path_factory.mktemp("copy")), url)
        try:
            run.wait_for(run.serves)
            yield run
        finally:
            run.process.terminate()
            assert run.process.wait(30) == 0


MISTAKES = {
    "an import": ("app/services/tasks.py", "import nothing_such", "No module named 'nothing_such'"),
    "syntax": ("app/services/tasks.py", "def (:", "invalid syntax"),
    "a missing attribute": (
        "app/main.py",
        "def create_app(settings): return settings.nothing_such",
        "the application cannot be made: 'Settings' object has no attribute 'nothing_such'",
    ),
    "an unguarded statement": (
        "app/services/tasks.py",
        "from sqlmodel import select\nEVERYBODYS = Statement(select(Task), returns=Task)",
        "tasks is owned by users: add owned(Model)",
    ),
    "an end of the program": ("app/services/tasks.py", "raise SystemExit('own words')", "it is loaded: own words"),
    "a setting without a value": (
        "app/core/config.py",
        "class Settings(Settings): team_key: str",
        "TEAM_KEY: ",
    ),
    "a lifespan": ("app/extensions.py", "def lifespan(app): raise ValueError('no lifespan')", "no lifespan"),
}


@pytest.mark.parametrize(("path", "code", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_shown_and_the_next_save_serves_again(edited: Edited, path: str, code: str, says: str) -> None:
    begin = len(edited.log())
    content = edited.add(path, code)
    edited.wait_for(lambda: "The code cannot be loaded" in edited.log()[begin:], save=path)
    assert says in edited.log()[begin:]
    assert not re.search("WSGI|Failed to find attribute|During handling", edited.log()[begin:])
    assert not edited.serves()
    edited.restore(path, content)
    edited.wait_for(edited.serves)


def test_each_worker_that_serves_says_so_in_the_log_for_people(tmp_path: Path, database_url: str) -> None:
    run = Edited(copied(tmp_path), database_url, LOG_FORMAT="text")

    def is_ready_after(words: str) -> Callable[[], bool]:
        return lambda: "Ready\n" in run.log().partition(words)[2]

    try:
        run.wait_for(is_ready_after("Ctrl-C"))
        assert run.serves()
        run.wait_for(is_ready_after("Worker reloading"), save="app/services/tasks.py")
        assert run.serves()
        content = run.add("app/services/tasks.py", "import nothing_such")
        run.wait_for(lambda: "The code cannot be loaded" in run.log(), save="app/services/tasks.py")
        run.restore("app/services/tasks.py", content)
        run.wait_for(is_ready_after("Trying again"))
        assert run.serves()
    finally:
        run.process.terminate()
    assert run.process.wait(30) == 0
    assert re.search(r"^\d\d:\d\d:\d\d INFO +Ready$", run.log(), re.MULTILINE)


WRONG_JOBS = {
    "a schedule": ("jobs.job('a', every='daily')", "'daily': write `every day at 03:00 UTC` or `every monday at"),
    "a name": ("jobs.job('a')(print)\njobs.job('a')", "there is already a job a: choose another name\n"),
}


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "groundwork.dev", "worker"],
        ["-m", "groundwork.dev", "serve"],
        ["-m", "groundwork.dev.guard"],
        ["serve.py"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("code", "says"), WRONG_JOBS.values(), ids=WRONG_JOBS.keys())
def test_a_refused_declaration_is_said_in_one_line_that_names_its_place(
    tmp_path: Path, command: list[str], code: str, says: str
) -> None:
    backend = copied(tmp_path)
    (backend / "app" / "jobs.py").write_text(f"from groundwork.jobs.handlers import Jobs\njobs = Jobs()\n\n{code}\n")
    main = backend / "app" / "main.py"
    main.write_text(f"from app import jobs\n{main.read_text()}")
    # Without LOG_FORMAT, what a command of `make` says is for people, wherever it goes.
    format = "" if "guard" in command[-1] else "text"
    done = said(backend, command, RELOAD=str(command[-1] == "serve"), LOG_FORMAT=format)
    assert done.returncode not in (0, None)
    assert f"\napp/jobs.py:{4 + code.count(chr(10))}: {says}" in f"\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "groundwork/" not in done.stderr


WRONG_MAINS = {
    "a module of a router": (
        "\nfrom app.routes import tasks\n",
        r"resources: must be routers, not <module 'app\.routes\.tasks' .*>; import the `router` of its module",
    ),
    "a name that the application needs": (
        "\nimport app.seed\n",
        "the name `app` is taken here, as by `import app.jobs`: write `from app import jobs` instead",
    ),
    "a lifespan that is no context": (
        "\nasync def lifespan(app): yield\n",
        r"lifespan: write @asynccontextmanager above it, as in app/extensions\.py",
    ),
}


@pytest.mark.parametrize(("code", "says"), WRONG_MAINS.values(), ids=WRONG_MAINS.keys())
def test_what_create_app_cannot_take_is_said_in_one_line(tmp_path: Path, code: str, says: str) -> None:
    backend = copied(tmp_path)
    main = backend / "app" / "main.py"
    main.write_text(main.read_text().replace("\ndef create_app", f"{code}\n\ndef create_app"))
    done = said(backend, ["-m", "groundwork.dev", "serve"], LOG_FORMAT="text", RELOAD="true")
    assert done.returncode == 3
    assert re.search(rf"\napp/main\.py:\d+: {says}\n", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_an_application_that_cannot_be_made_is_shown_with_its_place(tmp_path: Path) -> None:
    backend = copied(tmp_path)
    main = backend / "app" / "main.py"
    main.write_text(main.read_text().replace("        settings,\n", "        settings.nothing_such,\n"))
    done = said(backend, ["serve.py"], LOG_FORMAT="text")
    assert done.returncode == 1
    assert "\n    settings.nothing_such,\n" in done.stderr
    assert "the application cannot be made: 'Settings' object has no attribute 'nothing_such'" in done.stderr


def test_where_the_log_is_json_the_error_that_ends_the_program_is_a_line_of_it(tmp_path: Path) -> None:
    backend = copied(tmp_path)
    (backend / "app" / "jobs.py").write_text("import nothing_such")
    done = said(backend, ["worker.py"])
    assert done.returncode == 1
    (event,) = map(json.loads, done.stderr.splitlines())
    assert event["message"] == "an error ends the program"
    assert event["traceback"].endswith("No module named 'nothing_such'")


OPENS = """
import contextlib
@contextlib.asynccontextmanager
async def lifespan(app):
    open("nothing_such")
    yield
"""


def test_an_error_of_a_lifespan_is_shown_by_the_lines_of_the_service(tmp_path: Path) -> None:
    backend = copied(tmp_path)
    extensions = backend / "app" / "extensions.py"
    extensions.write_text(extensions.read_text() + OPENS)
    done = said(backend, ["-m", "groundwork.dev", "serve"], LOG_FORMAT="text", RELOAD="true")
    assert done.returncode == 3
    assert "the lifespan has failed: [Errno 2] No such file or directory: 'nothing_such'\nTraceback" in done.stderr
    assert '\n    open("nothing_such")\nFileNotFoundError: ' in done.stderr
    assert done.stderr.count("  File ") == 1
    assert not re.search("site-packages|contextlib.py|groundwork/", done.stderr)


def said(backend: Path, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """What a command says in a copy of the service. It looks for no database."""
    given = {"DATABASE_URL": "postgresql://user@127.0.0.1:1/none", "DATABASE_OPEN_AT_START": "0"}
    given |= {"WEB_CONCURRENCY": "1", **variables}
    return subprocess.run(
        [sys.executable, *command],
        cwd=backend,
        env=server.environment(PORT=str(server.free_port()), **given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_while_it_waits_for_the_next_save(tmp_path: Path, database_url: str, number: int) -> None:
    backend = copied(tmp_path)
    (backend / "app" / "extensions.py").write_text("import nothing_such")
    run = Edited(backend, database_url)
    run.wait_for(lambda: "The code cannot be loaded" in run.log())
    run.process.send_signal(number)
    assert run.process.wait(30) == 0
    assert "KeyboardInterrupt" not in run.log()


def test_ctrl_c_ends_it_before_the_service_listens(tmp_path: Path, database_url: str) -> None:
    run = Edited(copied(tmp_path), database_url)
    run.wait_for(lambda: "Ctrl-C" in run.log())
    status = None
    for _ in range(6):
        # Python drops a signal that meets certain moments of an import, so a person presses the keys again.
        os.killpg(run.process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            status = run.process.wait(10)
            break
    assert status in {0, -signal.SIGINT}
    assert "Traceback" not in run.log()


def test_it_waits_for_the_next_save_if_the_migrations_cannot_be_run(tmp_path: Path, database_url: str) -> None:
    backend = copied(tmp_path)
    model = backend / "app" / "models" / "__init__.py"
    content = model.read_text()
    model.write_text("import nothing_such")
    run = Edited(backend, database_url)
    try:
        run.wait_for(lambda: "The code cannot be loaded" in run.log())
        model.write_text(content)
        run.wait_for(run.serves, save="app/models/__init__.py")
    finally:
        run.process.terminate()
    assert run.process.wait(60) == 0


FAILS = """
revision = "twins"
down_revision = {head!r}


def upgrade():
    op.execute("CREATE TABLE twins (name text)")
    op.execute("INSERT INTO twins VALUES ('ann'), ('ann')")
    op.create_unique_constraint("twins_name_key", "twins", ["name"])
"""


def test_a_migration_with_a_mistake_is_named_by_its_file(tmp_path: Path, database_url: str) -> None:
    backend = copied(tmp_path)
    head = ScriptDirectory(str(backend / "migrations")).get_current_head()
    file = backend / "migrations" / "versions" / "twins.py"
    file.write_text(FAILS.format(head=head))  # without its import
    run = Edited(backend, database_url)
    run.wait_for(lambda: "The next save tries them again" in run.log())
    run.process.terminate()
    assert run.process.wait(60) == 0
    assert "\nThe migration twins.py has failed: migrations/versions/twins.py:7: op.execute(" in run.log()
    assert ": NameError: name 'op' is not defined. What was not committed is undone." in run.log()
    assert not re.search("Traceback|cannot be loaded", run.log())


def test_it_tries_a_failing_migration_again_at_the_next_save(tmp_path: Path, database_url: str) -> None:
    backend = copied(tmp_path)
    head = ScriptDirectory(str(backend / "migrations")).get_current_head()
    file = backend / "migrations" / "versions" / "twins.py"
    text = f"from alembic import op\n{FAILS.format(head=head)}"
    file.write_text(text)
    run = Edited(backend, database_url)
    try:
        run.wait_for(lambda: "The next save tries them again" in run.log())
        assert "The migration twins has failed: migrations/versions/twins.py:10: could not create unique" in run.log()
        assert "DETAIL: Key (name)=(ann) is duplicated. What was not committed is undone." in run.log()
        assert not re.search("Traceback|cannot be loaded", run.log())
        file.write_text(text.replace(", ('ann')", ""))
        run.wait_for(run.serves)
    finally:
        run.process.terminate()
    assert run.process.wait(60) == 0


def test_it_serves_where_the_file_of_a_migration_is_gone_and_says_so(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    with postgres_server.database(postgres.TEMPLATE) as url:
        postgres_server.execute("UPDATE alembic_version SET version_num = 'gone'", database=url.rpartition("/")[2])
        run = Edited(copied(tmp_path), url)
        try:
            run.wait_for(run.serves)
        finally:
            run.process.terminate()
        assert run.process.wait(60) == 0
    assert "The database is at revision gone, which no file in backend/migrations/versions has" in run.log()
    assert "newer than this version" not in run.log()
