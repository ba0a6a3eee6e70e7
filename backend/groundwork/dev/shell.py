"""`make shell`: a Python prompt with the service's settings, models and database. `await` works at the prompt."""

import ast
import asyncio
import inspect
import os
import sys
from code import InteractiveConsole
from contextlib import suppress
from importlib import import_module
from logging import Formatter
from pkgutil import iter_modules
from types import CodeType, FunctionType
from typing import Any

import sqlmodel

from groundwork.data.plain_session import open_session
from groundwork.dev.opened import opened
from groundwork.dev.schema import why_not
from groundwork.observe.logging import is_json
from groundwork.observe.text_log import TextFormatter

_HELLO = """\
  settings         what the service is configured with
  database         runs the service's statements: await tasks.list_tasks(database, "alice", limit=10)
  session          SQLModel's session, past the guard: (await session.exec(select(Task))).all()
  {names}
A change through the session is kept by await session.commit(). Ctrl-D ends the prompt."""


class Console(InteractiveConsole):
    """A prompt at which `await` works. All lines that await run on one event loop.

    After an error the session is rolled back. PostgreSQL would refuse its next statement otherwise.
    """

    def __init__(self, names: dict[str, Any], loop: asyncio.Runner) -> None:
        super().__init__(names)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._loop = loop
        # The short traceback tells people to set LOG_FORMAT for the long one, so the prompt obeys it too.
        self._shown = Formatter() if is_json(names["settings"].log_format) else TextFormatter()

    def runcode(self, code: CodeType) -> None:
        """Run a line that was entered. An error is shown, and the prompt goes on."""
        try:
            result = FunctionType(code, self.locals)()
            if inspect.iscoroutine(result):
                self._loop.run(result)
        except SystemExit:
            raise
        except KeyboardInterrupt:
            self.write("\nKeyboardInterrupt\n")
            self._loop.run(self.locals["session"].rollback())
        except BaseException:
            self.write(f"{self._shown.formatException(sys.exc_info())}\n")
            self._loop.run(self.locals["session"].rollback())


def names_of_service() -> dict[str, Any]:
    """The names at the prompt: the models, the modules of `app.services`, and what a select is written with."""
    models = import_module("app.models")
    names: dict[str, Any] = {name: getattr(models, name) for name in models.__all__}
    services = import_module("app.services")
    names |= {each.name: import_module(f"app.services.{each.name}") for each in iter_modules(services.__path__)}
    return names | {"select": sqlmodel.select, "col": sqlmodel.col, "func": sqlmodel.func}


def main() -> int:
    """Show the prompt until it is left."""
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - gives the prompt a history, where Python was built with it

    names = names_of_service()
    settings = import_module("app.core.config").load_settings()
    with asyncio.Runner() as loop:
        context = opened()
        database = loop.run(context.__aenter__())
        if problem := loop.run(why_not(database, "make shell")):
            loop.run(context.__aexit__(None, None, None))
            print(problem, file=sys.stderr)
            return os.EX_UNAVAILABLE
        sessions = open_session(database)
        session = loop.run(sessions.__aenter__())
        shown = _HELLO.format(names=", ".join(sorted(names)))
        try:
            prompt = Console({**names, "settings": settings, "database": database, "session": session}, loop)
            prompt.interact(banner=shown, exitmsg="")
        finally:
            loop.run(sessions.__aexit__(None, None, None))
            loop.run(context.__aexit__(None, None, None))
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
