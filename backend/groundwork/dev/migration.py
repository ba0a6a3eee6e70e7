"""`make migration`: writes migrations from the models, after a look at what is there.

`python -m groundwork.dev.migration check` fails if the models and the database differ, as `alembic check` does.
"""

import os
import sys

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from groundwork.dev import autogenerate

_USAGE = 'python -m groundwork.dev.migration write NAME, or check. make migration NAME="add projects" does the first.'


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
    if sentence := two_heads(ScriptDirectory.from_config(config)):
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
