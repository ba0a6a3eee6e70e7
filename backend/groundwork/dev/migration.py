"""`make migration`: runs the migrations, and writes new ones for the differences between the models and the database.

`python -m groundwork.dev.migration check` fails if the models and the database differ, as `alembic check` does.
"""

import os
import sys
import warnings

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from groundwork.dev import autogenerate

_USAGE = 'python -m groundwork.dev.migration write NAME, or check. make migration NAME="add projects" does the first.'


def read_migrations(config: Config) -> ScriptDirectory:
    """The migrations.

    Raises:
        CommandError: they do not follow one another, or one of them cannot be read. It is a sentence.
    """
    scripts = ScriptDirectory.from_config(config)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what the sentences say
            scripts.get_heads()
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


def main(arguments: list[str]) -> int:
    """Write migrations, or compare; returns the exit status."""
    config = Config("alembic.ini")
    if sentence := why_not_migrate(config):
        print(sentence, file=sys.stderr)
        return os.EX_DATAERR
    autogenerate.register()
    try:
        match arguments:
            case ["write", name] if name:
                command.upgrade(config, "head")
                split = autogenerate.split
                if command.revision(config, name, autogenerate=True, process_revision_directives=split):
                    print("Next: read it, in backend/migrations/versions, then make migrate and make test")
            case ["check"]:
                command.check(config)
            case _:
                print(f"Say what to do: {_USAGE}", file=sys.stderr)
                return os.EX_USAGE
    except CommandError as error:
        print(error, file=sys.stderr)
        return os.EX_SOFTWARE
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
