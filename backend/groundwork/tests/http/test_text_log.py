"""What a developer sees at a terminal: a short line for each request, and tracebacks without libraries' lines."""

import io
import logging
import os
import re
import sys
import traceback as standard_traceback
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest
from pydantic import EmailStr, create_model

from groundwork.jobs.handlers import Jobs
from groundwork.observe.current_request import CurrentRequest, Stream
from groundwork.observe.text_log import TextAccessLog, TextFormatter, WithoutStart

NIGHTLY = "every day at 03:00 UTC"
ROUTE = "/api/{user_id}/tasks"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error, as a terminal of 80 columns."""
    stream = Terminal()
    # Not `sys.stderr` itself, which pytest replaces again for the test.
    monkeypatch.setattr("groundwork.observe.text_log.sys", SimpleNamespace(stderr=stream))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def request(database_seconds: float = 0, pool_seconds: float = 0) -> CurrentRequest:
    request = CurrentRequest("0123456789abcdef")
    request.database_seconds, request.pool_seconds = database_seconds, pool_seconds
    return request


def write(status: int = 200, seconds: float = 0.0031, **options: object) -> None:
    given = {"headers": {}, "route": ROUTE, "method": "GET", "request": request(), **options}
    route, method, made = given.pop("route"), given.pop("method"), given.pop("request")
    assert isinstance(made, CurrentRequest)
    path = given.pop("path", b"")
    assert isinstance(path, bytes)
    made.path = path
    made.status = status
    TextAccessLog()(made, method, route, seconds, {}, **given)  # type: ignore[arg-type]


def test_a_line_is_short_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    write(404, 0.4321, method="OPTIONS")
    first, second = capsys.readouterr().err.splitlines()
    assert first[9:] == "200 GET          3.1 ms  01234567  /api/{user_id}/tasks"
    assert second[9:] == "404 OPTIONS    432.1 ms  01234567  /api/{user_id}/tasks"
    assert re.fullmatch(r"\d\d:\d\d:\d\d ", first[:9])


def test_a_slow_request_shows_where_its_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    write(seconds=1.5, request=request(1.25, 0.125))
    end = "/api/{user_id}/tasks  db 1250 ms, pool 125 ms\n"
    assert capsys.readouterr().err.endswith(end)


def test_a_stream_shows_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    made = request()
    made.stream = Stream(None, 0)
    made.stream.end = "client left"
    write(request=made, seconds=99)
    assert capsys.readouterr().err.endswith("/api/{user_id}/tasks  stream: client left\n")


@pytest.mark.parametrize(
    ("path", "shown"),
    [(b"/apu/alice/tasks", "/apu/alice/tasks"), (b"/a\x1b[31m\n", r"/a\u001b[31m\n"), (b"/%2F\xff", r"/%2F\u00ff")],
)
def test_a_path_without_a_route_is_shown(capsys: pytest.CaptureFixture[str], path: bytes, shown: str) -> None:
    write(404, route="", path=path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"  {shown}")


def test_a_path_with_a_route_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    write(path=b"/api/alice/tasks")
    assert "alice" not in capsys.readouterr().err


@pytest.mark.parametrize(("status", "colour"), [(200, 32), (304, 36), (404, 33), (503, 31), (0, 31)])
def test_a_terminal_gets_the_status_in_colour(terminal: Terminal, status: int, colour: int) -> None:
    write(status)
    assert terminal.getvalue()[9:].startswith(f"\x1b[{colour}m{status:>3}\x1b[0m GET ")


def test_no_colour_is_respected(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    write()
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize("route", [ROUTE, ROUTE * 9, "/" + "x" * 500])
def test_a_line_fits_into_the_terminal(terminal: Terminal, route: str) -> None:
    write(route=route)
    (line,) = terminal.getvalue().splitlines()
    plain = re.sub(r"\x1b\[\d+m", "", line)
    assert len(plain) <= 80
    assert plain.endswith("…") == (len(route) > len(ROUTE))


@pytest.mark.parametrize("route", [ROUTE, ROUTE * 9])
def test_a_long_route_does_not_push_out_where_the_time_went(terminal: Terminal, route: str) -> None:
    write(route=route, seconds=1.5, request=request(1.25, 0.125))
    (line,) = terminal.getvalue().splitlines()
    plain = re.sub(r"\x1b\[\d+m", "", line)
    assert len(plain) <= 80
    assert plain.endswith("  /api/{user…  db 1250 ms, pool 125 ms"), plain


@pytest.mark.parametrize("columns", ["1", "20", "50"])
def test_a_narrow_terminal_gets_one_line(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    write(seconds=1.5, request=request(1.25, 0.125))
    (line,) = terminal.getvalue().splitlines()
    assert len(re.sub(r"\x1b\[\d+m", "", line)) <= int(columns)


def test_a_file_gets_the_whole_line(capsys: pytest.CaptureFixture[str]) -> None:
    write(route=ROUTE * 20)
    assert capsys.readouterr().err.endswith(f"{ROUTE * 20}\n")


class TestCors:
    """If CORS is off, the log explains it at the first request from a page of another origin."""

    def hints(self, caplog: pytest.LogCaptureFixture, log: TextAccessLog, **headers: bytes) -> list[str]:
        caplog.clear()
        given = {name.encode(): value for name, value in headers.items()}
        log(request(), "GET", ROUTE, 0.1, {}, given)
        return [record.getMessage() for record in caplog.records]

    def test_it_is_said_once_and_names_the_setting(self, caplog: pytest.LogCaptureFixture) -> None:
        log = TextAccessLog()
        page = {"origin": b"http://localhost:5173", "host": b"127.0.0.1:8000"}
        (hint,) = self.hints(caplog, log, **page)
        assert hint.endswith("set CORS_ORIGINS=http://localhost:5173")
        assert self.hints(caplog, log, **page) == []

    def test_a_page_of_the_service_itself_needs_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        page = {"origin": b"http://127.0.0.1:8000", "host": b"127.0.0.1:8000"}
        assert self.hints(caplog, TextAccessLog(), **page) == []

    def test_an_origin_that_no_setting_can_name_is_passed_over(self, caplog: pytest.LogCaptureFixture) -> None:
        log = TextAccessLog()
        assert self.hints(caplog, log, origin=b"null", host=b"127.0.0.1:8000") == []
        assert len(self.hints(caplog, log, origin=b"https://other.example", host=b"127.0.0.1:8000")) == 1

    def test_nothing_is_said_where_cors_is_on(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.hints(caplog, TextAccessLog(cors=True), origin=b"https://other.example") == []


class TestTracebacks:
    def shown(self, error: BaseException) -> str:
        return TextFormatter().formatException((type(error), error, error.__traceback__))

    def test_lines_of_libraries_are_left_out_but_the_last(self) -> None:
        import httpx  # noqa: PLC0415

        with pytest.raises(httpx.UnsupportedProtocol) as raised:
            httpx.get("ftp://127.0.0.1")
        whole = len(standard_traceback.extract_tb(raised.value.__traceback__))
        shown = self.shown(raised.value)
        assert shown.count("  File ") < whole
        assert "lines of libraries are left out; LOG_FORMAT=json shows them)" in shown
        assert "httpx.UnsupportedProtocol: " in shown

    def test_of_a_missing_package_the_step_that_lasts_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "email_validator", None)
        with pytest.raises(ImportError, match="run `pip install") as raised:
            create_model("Contact", email=(EmailStr, ...))
        shown = self.shown(raised.value)
        assert shown.endswith("\n(Add it to backend/pyproject.toml, run make lock and start again.)")
        assert "pyproject" not in self.shown(KeyError("why"))

    @pytest.mark.parametrize("kind", [asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError])
    def test_a_table_or_column_that_is_not_there_yet_names_the_command(self, kind: type[Exception]) -> None:
        """The error itself, and one that it caused, as SQLAlchemy's do."""
        error = kind('relation "projects" does not exist')
        effect = RuntimeError("effect")
        effect.__cause__ = error
        for each in (error, effect):
            said = self.shown(each).splitlines()[-1]
            assert "lacks a table or column that the code names: run make migrate" in said
            assert said.endswith("; or correct the name, if it is misspelt in SQL)")

    async def test_a_value_that_the_driver_cannot_write_names_the_page_of_all_types(
        self, connection: asyncpg.Connection
    ) -> None:
        with pytest.raises(asyncpg.DataError) as raised:
            await connection.fetchval("SELECT $1::text", 5)
        assert (
            self.shown(raised.value).splitlines()[-1].startswith("(a value does not fit its parameter: write the anno")
        )

    def test_another_error_of_the_database_does_not_name_it(self) -> None:
        assert "make migrate" not in self.shown(asyncpg.UniqueViolationError("duplicate key"))

    def test_own_lines_and_causes_are_kept(self) -> None:
        folder: dict[str, object] = {}
        exec(compile("def fail():\n    raise KeyError('why')\n", "/project/app/services/x.py", "exec"), folder)
        try:
            try:
                folder["fail"]()  # type: ignore[operator]
            except KeyError as cause:
                raise RuntimeError("effect") from cause
        except RuntimeError as error:
            shown = self.shown(error)
        else:
            pytest.fail("nothing was raised")
        assert "/project/app/services/x.py" in shown
        assert "KeyError: 'why'" in shown
        assert shown.index("KeyError") < shown.index("RuntimeError: effect")

    def shown_of(self, code: str) -> str:
        """What is shown of an error in a module of a service."""
        with pytest.raises(Exception) as raised:
            exec(compile(code, str(Path.cwd() / "app" / "jobs.py"), "exec"), {"Jobs": Jobs})
        error = raised.value
        # Without the frame of this test, which is a function of a service as well.
        own = error.__traceback__ and error.__traceback__.tb_next
        return TextFormatter().formatException((type(error), error, own))

    def test_of_a_refused_declaration_only_the_place_and_the_sentence_are_shown(self) -> None:
        shown = self.shown_of("jobs = Jobs()\njobs.job('night', every='daily')")
        assert shown == f"app/jobs.py:2: 'daily': write `{NIGHTLY}` or `every monday at 03:00 UTC`"
        shown = self.shown_of("jobs = Jobs()\n@jobs.job\nasync def report(job, database): pass")
        assert shown == 'app/jobs.py:2: the job has no name: write @jobs.job("report")'

    def test_the_way_to_a_declaration_in_a_function_is_kept(self) -> None:
        shown = self.shown_of("def night(every):\n    Jobs().job('night', every=every)\nnight('daily')")
        assert 'app/jobs.py", line 3' in shown
        assert 'app/jobs.py", line 2' in shown

    def test_a_defect_of_the_library_keeps_its_traceback(self) -> None:
        shown = self.shown_of("jobs = Jobs()\njobs.job([])")
        assert shown.startswith("Traceback")
        assert shown.rstrip().endswith("TypeError: unhashable type: 'list'")


@pytest.mark.parametrize(
    ("logger", "level", "message", "shown"),
    [
        ("gunicorn.error", logging.INFO, "Booting worker with pid: %s", False),
        ("gunicorn.error", logging.INFO, "Worker reloading: %s modified", True),
        ("gunicorn.error", logging.WARNING, "Worker timeout", True),
        ("gunicorn.error", logging.ERROR, "Worker (pid:77) exited with code 3.", False),
        ("gunicorn.error", logging.ERROR, "Worker (pid:77) exited with code 1.", True),
        ("gunicorn.error", logging.ERROR, "Shutting down: Master", False),
        ("gunicorn.error", logging.ERROR, "Reason: Worker failed to boot.", False),
        ("gunicorn.error", logging.WARNING, "Worker (pid:77) was sent SIGINT!", False),
        ("gunicorn.error", logging.ERROR, "Worker (pid:77) was sent SIGKILL! Perhaps out of memory?", True),
        ("gunicorn.error", logging.WARNING, "Reloader is on. Use in development only!", False),
        ("alembic.runtime.migration", logging.INFO, "Context impl %s.", False),
        ("alembic.runtime.migration", logging.INFO, "Running %s", True),
        ("alembic.env", logging.INFO, "another migration is running; waiting for it to end", True),
        ("app.orders", logging.INFO, "Booting", True),
    ],
)
def test_what_others_say_of_their_start_is_left_out(logger: str, level: int, message: str, shown: bool) -> None:
    record = logging.LogRecord(logger, level, os.devnull, 1, message, None, None)
    assert WithoutStart().filter(record) == shown
