"""The log for people: one short line for each request and each event, in colour on a terminal."""

import logging
import os
import re
import shutil
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from groundwork.observe.access_log import AccessLog, Headers
from groundwork.observe.current_request import CurrentRequest
from groundwork.observe.log_members import Members, context_of, escaped
from groundwork.observe.log_times import clock_time

_ID_LENGTH: Final = 8
"""How much of a request's id is shown. It is enough to find the lines of one request."""
_LEAST_WIDTH: Final = 44
"""How much of a line is always kept: the part before the route."""
_RED, _GREEN, _YELLOW, _CYAN = 31, 32, 33, 36
_STATUS_COLOURS: Final = {2: _GREEN, 3: _CYAN, 4: _YELLOW}
_LEVEL_COLOURS: Final = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}
_OWN_START: Final = ("gunicorn.", "alembic.runtime.")
_WORTH_READING: Final = ("Worker reloading", "Running ")
# What ended the worker stands above these lines, or was Ctrl-C.
_KNOWN_ANYWAY: Final = re.compile(
    r"Reloader is on|Application startup failed|Worker \(pid:\d+\) (exited with code [34]|was sent SIG(INT|QUIT))"
    "|Shutting down: |Reason: (Worker failed to boot|App failed to load)"
)
_LIBRARY: Final = str(Path(__file__).parents[1])
_STANDARD_LIBRARY: Final = str(Path(os.__file__).parent)
_HOW_TO_MIGRATE: Final = (
    "(the database lacks a table or column that the code names: run make migrate, or first make migration if none adds"
    " it; or correct the name, if it is misspelt in SQL)"
)
_HOW_TO_FIT: Final = (
    "(a value does not fit its parameter: write the annotation and the column that groundwork/docs/values.md has for"
    " its type)"
)
# A module's own code, and the functions with which app/main.py makes the application.
_DECLARING: Final = frozenset({"<module>", "<lambda>", "create_app"})
_MEMBERS: Final = Members()


class TextAccessLog(AccessLog):
    """Writes a line of text for each request: time, status, method, milliseconds, a short id, and the route.

    A request that matches no route shows its path instead. A slow one also shows where its time went. Lines on a
    terminal are cut to its width.

    Args:
        sample, slow_seconds: as for `AccessLog`.
        cors: whether pages of other origins may read answers.
    """

    def __init__(self, *, sample: float = 1, slow_seconds: float = 0.5, cors: bool = False) -> None:
        super().__init__(sample=sample, slow_seconds=slow_seconds)
        self._says_cors = not cors

    def _write(
        self, request: CurrentRequest, method: str, route: str, seconds: float, scope: Any, headers: Headers
    ) -> None:
        status = request.status
        place = route or escaped(request.path.decode("latin-1"))
        rest = "" if request.stream is None else f"  stream: {request.stream.end}"
        if request.is_slow:
            rest += f"  db {request.database_seconds * 1000:.0f} ms, pool {request.pool_seconds * 1000:.0f} ms"
        spent = f"{seconds * 1000:>8.1f} ms  {request.id[:_ID_LENGTH]:<8}"
        line = _cut(f"{clock_time(time.time())} {status:>3} {method:<7} {spent}  {place}", rest)
        shown = painted(f"{status:>3}", _STATUS_COLOURS.get(status // 100, _RED))
        sys.stderr.write(line.replace(f" {status:>3} ", f" {shown} ", 1) + "\n")
        if self._says_cors and b"origin" in headers:
            self._say_cors(headers)

    def _say_cors(self, headers: Headers) -> None:
        """Tell once why a page of another origin cannot read the answer. The browser's own message names no setting."""
        origin = escaped(headers[b"origin"].decode("latin-1"))
        # No setting can name the origin of a file or of a sandboxed frame, which is "null".
        if origin == "null" or origin.partition("://")[2] == headers.get(b"host", b"").decode("latin-1"):
            return
        self._says_cors = False
        message = "CORS is off: no browser lets a page of %s read this answer. To allow it, set CORS_ORIGINS=%s"
        self._logger.warning(message, origin, origin)


class TextFormatter(logging.Formatter):
    """One line of text for people: time, level and message, then everything else as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        context = context_of(record, _MEMBERS)
        if "request_id" in context:
            context["request_id"] = context["request_id"][:_ID_LENGTH]
        members = "".join(f" {name}={value}" for name, value in context.items())
        level = painted(f"{record.levelname:<8}", _LEVEL_COLOURS.get(record.levelname))
        line = f"{clock_time(record.created)} {level}{record.getMessage()}{members}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback without the lines of libraries but the last. For a refused declaration, only what is wrong.

        If PostgreSQL does not know a table or column, or the driver cannot write a value, a last line says what to do.
        """
        text = _refusal(ei) or _own_lines(ei) or super().formatException(ei)
        return text + _hint(ei[1])


class WithoutStart(logging.Filter):
    """Leaves out gunicorn's and Alembic's lines about their own start and end. `make run` prints what matters."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        own = record.levelno <= logging.INFO and record.name.startswith(_OWN_START)
        return text.startswith(_WORTH_READING) if own else not _KNOWN_ANYWAY.match(text)


def painted(text: str, colour: int | None) -> str:
    """The text in a colour by its number (ECMA-48, 8.3.117), on a terminal without NO_COLOR (no-color.org)."""
    has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and has_colours else text


def _cut(line: str, rest: str) -> str:
    """The line and the rest within the terminal's width, if there is one. The line is cut before the rest is."""
    if not sys.stderr.isatty():
        return line + rest
    width = shutil.get_terminal_size().columns
    room = max(width - len(rest), _LEAST_WIDTH)
    shown = (line if len(line) <= room else f"{line[: room - 1]}…") + rest
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def _refusal(error: tuple[type[BaseException], BaseException, TracebackType | None]) -> str | None:
    """The sentence with which the library refuses a declaration, behind its file and line. None for any other error.

    If a function of the service has declared it, the way to that function may matter, and only a traceback shows it.
    """
    lines = traceback.extract_tb(error[2])
    own = [line for line in lines if not is_library(line.filename)]
    if not own or not isinstance(error[1], TypeError | ValueError) or {line.name for line in own} - _DECLARING:
        return None
    if not (lines[-1].filename.startswith(_LIBRARY) and (lines[-1].line or "").startswith("raise ")):
        return None
    return f"{os.path.relpath(own[-1].filename)}:{own[-1].lineno}: {error[1]}"


def _own_lines(error: tuple[type[BaseException], BaseException, TracebackType | None]) -> str | None:
    shown = traceback.TracebackException(*error)
    left_out = 0
    for part in _parts(shown):
        kept = [frame for frame in part.stack[:-1] if not is_library(frame.filename)] + list(part.stack[-1:])
        left_out += len(part.stack) - len(kept)
        part.stack = traceback.StackSummary.from_list(kept)
    if not left_out:
        return None
    text = "".join(shown.format()).rstrip()
    # What a library says to install would be gone with the next environment.
    hint = "\n(Add it to backend/pyproject.toml, run make lock and start again.)" if "pip install" in text else ""
    return f"{text}\n({left_out} lines of libraries are left out; LOG_FORMAT=json shows them){hint}"


def _hint(error: BaseException | None) -> str:
    """A line that says what to do about the exception, or about what caused it; "" if nothing is known."""
    while error:
        # Undefined table, and undefined column. The code is newer than the database, unless SQL has a wrong name.
        if getattr(error, "sqlstate", None) in ("42P01", "42703"):
            return f"\n{_HOW_TO_MIGRATE}"
        if str(error).startswith("invalid input for query argument"):  # the driver's words
            return f"\n{_HOW_TO_FIT}"
        error = error.__cause__ or error.__context__
    return ""


def _parts(shown: traceback.TracebackException) -> list[traceback.TracebackException]:
    """The exception, its causes, and the members of exception groups."""
    parts = [shown]
    for part in parts:  # which grows
        parts += [other for other in (part.__cause__, part.__context__, *(part.exceptions or ())) if other]
    return parts


def is_library(filename: str) -> bool:
    """Whether a file is neither the service's nor one of its migrations."""
    return "site-packages" in filename or filename.startswith((_LIBRARY, "<frozen", "<string>", _STANDARD_LIBRARY))
