"""`python -m groundwork.dev.init`: makes a copy of the template a project of its own, for `make init`.

Needs git, and of Python only the standard library: it runs before anything is installed.
"""

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

from groundwork.dev.names import Names
from groundwork.dev.repository import (
    PROJECT,
    ROOT,
    TemplateError,
    names_in,
    names_of,
    rename_files,
    require_no_changes,
    run_command,
    succeeds,
)

EXAMPLE = "backend/groundwork/dev/example.py"


def init() -> None:
    """Give the project the name NAME, and its licence the holder OWNER if one is set; EXAMPLE=remove leaves it out."""
    title, owner, example = (os.environ.get(name, "").strip() for name in ("NAME", "OWNER", "EXAMPLE"))
    if not title:
        raise TemplateError('Give it a name: make init NAME="Acme Orders" OWNER="Acme Ltd"')
    if example not in ("", "keep", "remove"):
        raise TemplateError("EXAMPLE is keep, which it is when nothing is said, or remove.")
    new = names_of(title)
    require_no_changes()
    old = names_in((ROOT / PROJECT).read_text())
    require_no_other_meaning(new)
    if example == "remove":
        remove_example(ROOT)
    files = rename_files(ROOT, old, new)
    if owner:
        set_licence_holder(owner)
    print(f"{old.title} is {new.title} now, in {len(files)} files: `git diff` shows them, `git restore .` undoes it.")
    if example == "remove":
        print("The example is removed, with what stood on it: docs/take-it.md says what, and where it still is.")
    print(f"""
  Image, Compose project and database are called {new.slug}. Still the template's, and yours to write: what README.md
  says the service is for, and the address in SECURITY.md. Next:

  git add --all && git commit --message "{new.title}, from the template"
  make test""")


def remove_example(root: Path) -> None:
    """By the list of the very tree that it is removed from."""
    if not (root / EXAMPLE).exists():
        raise TemplateError("The example is removed already.")
    command = [sys.executable, "-m", "groundwork.dev.example"]
    done = subprocess.run(command, cwd=root / "backend", capture_output=True, text=True, check=False)
    if done.returncode:
        raise TemplateError(f"The example cannot be removed, and nothing was changed: {done.stderr.strip()}")


def require_no_other_meaning(new: Names) -> None:
    """Refuse a name such as "Database", which could never be told from the word."""
    if "-" not in new.slug and succeeds("grep", "--quiet", "--ignore-case", "--word-regexp", new.slug):
        raise TemplateError(
            f"NAME: the word {new.slug} is used in these files already; add one, as in Acme {new.title}."
        )


def set_licence_holder(owner: str) -> None:
    licence = ROOT / "LICENSE"
    line = f"Copyright (c) {dt.datetime.now(dt.UTC).year} {owner}"
    licence.write_text(
        re.sub(r"^Copyright \(c\) .*$", lambda _: line, licence.read_text(), count=1, flags=re.MULTILINE)
    )


if __name__ == "__main__":
    sys.exit(run_command(init))
