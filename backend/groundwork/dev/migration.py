"""`make migration`: runs the migrations, and writes new ones for the differences between the models and the database.

`upgrade` and `downgrade 1` are what `make migrate` runs. `check` fails if the models and the database differ, as
`alembic check` does.
"""

import asyncio
import logging
import os
import sys
import warnings
from argparse import Namespace
from itertools import islice
from pathlib import Path
from traceback import extract_tb, walk_tb

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from groundwork.dev import autogenerate
from groundwork.observe.text_log import is_library
from groundwork.serve.maintenance_connection import Unreachable, maintenance_connection
from groundwork.serve.settings import load_settings

UNKNOWN_REVISION = os.EX_NOINPUT
"""The exit status if a migration has run in the database that is not among the files."""
_VERSIONS = "/migrations/versions/"
_USAGE = "python -m groundwork.dev.migration upgrade, downgrade 1, write NAME, or check"


def read_migrations(config: Config) -> ScriptDirectory:
    """The migrations.

    Raises:
        CommandError: they do not follow one another, or one of them cannot be read. It is a sentence.
    """
    scripts = ScriptDirectory.from_config(config)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what the sentences say
            _load(scripts)
    except KeyError as error:
        raise CommandError(
            f"A migration in backend/migrations/versions has the down_revision {error}, which is the revision of none."
            " Write there the revision of the migration before it."
        ) from None
    except RevisionError as error:
        raise CommandError(
            f"The migrations in backend/migrations/versions do not follow one another: {error}. Give each a revision of"
            " its own, and write as its down_revision the revision of the one before it."
        ) from None
    except SyntaxError as error:
        place = f"{os.path.relpath(error.filename or '')}:{error.lineno}"
        raise CommandError(f"{place}: Python cannot read this: {error.msg}. Correct the migration.") from None
    return scripts


def _load(scripts: ScriptDirectory) -> None:
    try:
        scripts.get_heads()
    except Exception as error:
        if sentence := _mistake(error):
            raise CommandError(sentence) from None
        raise


def _mistake(error: BaseException) -> str | None:
    """Where a file of a migration has failed, and why, as a sentence; None if the error comes from no such file."""
    frames = extract_tb(error.__traceback__)
    first = next((place for place, each in enumerate(frames) if _VERSIONS in each.filename), None)
    if first is None:
        return None
    own = [each for each in frames[first:] if not is_library(each.filename)]
    places = ", ".join(f"{os.path.relpath(each.filename)}:{each.lineno}" for each in own)
    return (
        f"The migration {Path(own[0].filename).name} has failed: {places}: {own[-1].line}: {type(error).__name__}:"
        f" {error}. What was not committed is undone. Mend the migration, and run it again."
    )


def why_not_migrate(config: Config) -> str | None:
    """What keeps `alembic upgrade head` from beginning, as a sentence; None if nothing does."""
    try:
        return two_heads(read_migrations(config))
    except CommandError as error:
        return str(error)


def two_heads(scripts: ScriptDirectory) -> str | None:
    """What to do about two migrations that follow the same one, as a sentence; None if there is one newest."""
    heads = scripts.get_heads()
    if len(heads) <= 1:
        return None
    return (
        f"The migrations {' and '.join(sorted(heads))} are both the newest: two branches have added them. Read both; if"
        " they do not depend on each other, join them in backend/ with"
        f' python -m alembic merge -m "merge {" ".join(sorted(heads))}" heads; else let one follow the other, by its'
        " down_revision. Then: make migrate"
    )


def _current() -> set[str]:
    """The revisions that the database is at: none before the first migration.

    Raises:
        CommandError: the database cannot be reached. It is a sentence.
    """

    def read(connection: Connection) -> set[str]:
        return {*MigrationContext.configure(connection).get_current_heads()}

    async def connect() -> set[str]:
        async with maintenance_connection(load_settings()) as connection:
            return await connection.run_sync(read)

    try:
        return asyncio.run(connect())
    except Unreachable as error:
        raise CommandError(str(error)) from None
    except DBAPIError:
        return set()  # Alembic meets the same error, and migrations/env.py explains it


def _why_unknown(revisions: set[str]) -> str:
    """What to do about revisions that no file has, as a sentence."""
    return (
        f"The database is at revision {', '.join(sorted(revisions))}, which no file in backend/migrations/versions has:"
        " the file was deleted after it had run, or is another branch's. So no migration can run or be written. Bring"
        " the file back, after which make migrate DOWN=1 takes it out of the database; or begin with an empty database:"
        " make reset"
    )


def _upgrade(config: Config) -> None:
    # By this, migrations/env.py knows which command runs.
    config.cmd_opts = Namespace(cmd=(command.upgrade,))
    command.upgrade(config, "head")


def _downgrade(config: Config, scripts: ScriptDirectory, current: set[str], number: str) -> None:
    if not number.isdecimal() or int(number) == 0:
        raise CommandError(f"DOWN must be how many migrations to take back, and is {number}: make migrate DOWN=1")
    applied = [*scripts.iterate_revisions(tuple(current), "base")]
    if not applied:
        raise CommandError("No migration has run in this database, so none can be taken back. Run them: make migrate")
    if int(number) > len(applied):
        raise CommandError(f"DOWN must be at most {len(applied)}: so many migrations have run in this database")
    command.downgrade(config, f"-{number}")
    files = ", ".join(os.path.relpath(each.path, Path.cwd().parent) for each in islice(applied, int(number)))
    print(f"Taken back: {files}. Next: change or delete what you took back, then make migrate")


def _write(config: Config, name: str) -> None:
    command.upgrade(config, "head")
    split = autogenerate.split
    if command.revision(config, name, autogenerate=True, process_revision_directives=split):
        print("Next: read it, in backend/migrations/versions, then make migrate and make test")


def _run(config: Config, arguments: list[str]) -> int:
    scripts = read_migrations(config)
    current = _current()
    unknown = current - {each.revision for each in scripts.walk_revisions()}
    sentence = _why_unknown(unknown)
    match arguments:
        case ["upgrade"] if unknown:
            logging.getLogger("alembic.env").setLevel(logging.ERROR)  # what it logs is meant for a roll-back
            try:
                _upgrade(config)
            finally:
                print(sentence, file=sys.stderr)
            return UNKNOWN_REVISION
        case ["upgrade"]:
            _upgrade(config)
        case ["downgrade" | "write" | "check", *_] if unknown:
            print(sentence, file=sys.stderr)
            return UNKNOWN_REVISION
        case ["downgrade", number]:
            _downgrade(config, scripts, current, number)
        case ["write", name] if name:
            _write(config, name)
        case ["check"]:
            command.check(config)
        case _:
            print(f"Say what to do: {_USAGE}", file=sys.stderr)
            return os.EX_USAGE
    return os.EX_OK


def _failed(error: BaseException | None) -> str | None:
    """The revision of the migration whose code raised the error; None if none did."""
    for frame, _ in walk_tb(error.__traceback__ if error else None):
        if "down_revision" in frame.f_globals:
            return str(frame.f_globals["revision"])
    return None


def main(arguments: list[str]) -> int:
    """Run, take back or write migrations, or compare; returns the exit status."""
    config = Config("alembic.ini")
    if sentence := why_not_migrate(config):
        print(sentence, file=sys.stderr)
        return os.EX_DATAERR
    autogenerate.register()
    try:
        return _run(config, arguments)
    except CommandError as error:
        revision = _failed(error.__cause__)
        print(f"The migration {revision} has failed: {error}" if revision else error, file=sys.stderr)
        return os.EX_DATAERR if isinstance(error.__cause__, DBAPIError) else os.EX_SOFTWARE
    except Exception as error:
        if not (sentence := _mistake(error)):
            raise
        print(sentence, file=sys.stderr)
        return os.EX_DATAERR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
