"""`python -m groundwork.dev.init` makes a copy of the template a project of its own, for `make init`.

Needs git, and of Python only the standard library: it runs before anything is installed.
"""

import datetime as dt
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from groundwork.dev.names import Names
from groundwork.dev.repository import (
    FOUNDATION,
    LEFT_OUT,
    LEFT_OUT_GROUPS,
    PROJECT,
    REMOTE,
    ROOT,
    WRITTEN,
    TemplateError,
    git,
    is_fresh,
    leave_out,
    moved_files,
    names_in,
    names_of,
    rename_files,
    require_no_changes,
    run_command,
    succeeds,
    untracked,
)
from groundwork.dev.targets import chosen_targets, keep_targets

EXAMPLE = "backend/groundwork/dev/example.py"
# One of the example's files. If it is missing, the example has been removed.
A_FILE_OF_THE_EXAMPLE = "backend/app/models/task.py"
# The first README and CHANGELOG of the service. {{title}} and {{slug}} stand for its name.
TEXTS = Path(__file__).parent / "service"
# What nobody but the team can write. For each file: the text that stands there until then, and what it is.
TO_WRITE = {
    "README.md": ("Say here what ", "what the service is for"),
    "SECURITY.md": ("put your own address here", "the address for reports"),
    "backend/app/main.py": (" over HTTP on PostgreSQL.", "summary= and description=; make openapi afterwards"),
    "backend/Dockerfile": (" over HTTP on PostgreSQL", "the image's description"),
    "LICENSE": ("The Groundwork authors", "the holder, still the template's authors, because no OWNER= was given"),
}


def init() -> None:
    """Name the project NAME, and the licence's holder OWNER if it is set.

    EXAMPLE=remove removes the example. DEPLOY keeps the targets of deploy/ that it names, and removes the others.
    """
    title, owner, example, deploy = (
        os.environ.get(name, "").strip() for name in ("NAME", "OWNER", "EXAMPLE", "DEPLOY")
    )
    if not title:
        raise TemplateError('Give it a name: make init NAME="Acme Orders" OWNER="Acme Ltd"')
    if example not in ("", "keep", "remove"):
        raise TemplateError("EXAMPLE must be keep, which is the default, or remove.")
    new = names_of(title)
    require_no_changes()
    kept = chosen_targets(ROOT, deploy)
    old = names_in((ROOT / PROJECT).read_text())
    is_new = is_fresh()
    if new != old:
        require_no_other_meaning(new)
        require_free(moved_files(ROOT, old, new).values())
    if is_new:
        require_nothing_to_lose()
    if example == "remove":
        remove_example(ROOT)
    if kept:
        keep_targets(ROOT, kept)
    if is_new:
        leave_out(ROOT, LEFT_OUT)
    added = rename_files(ROOT, old, new)
    if is_new:
        write_own(new, has_example=example != "remove")
    if owner:
        set_licence_holder(owner)
    if succeeds("diff", "--quiet", "HEAD"):
        print(f"The project is called {new.title} already. Nothing was changed.")
        return
    print(f"{new.title} keeps its name." if new == old else f"{old.title} is {new.title} now.", end=" ")
    print(f"`git status` lists what has changed. To undo it:\n\n  {way_back(added)}\n")
    if example == "remove":
        print("The example is removed. make resource writes your first resource: docs/add-a-resource.md.")
    if kept:
        print(f"Kept of deploy/: {', '.join(kept)}, and what belongs to no target.")
    print(f"""\
{taken_out() if is_new else ""}Image, Compose project and database are called {new.slug}.{yours_to_write(ROOT)}

Next:

  git add --all && git commit --message "{new.title}, from the template"
  make test

{about_origin()}""")


def remove_example(root: Path) -> None:
    """Remove the example below `root`, by the version of `dev/example.py` in the same folder."""
    if not (root / A_FILE_OF_THE_EXAMPLE).exists():
        raise TemplateError("The example is removed already: leave out EXAMPLE=remove.")
    command = [sys.executable, "-m", "groundwork.dev.example"]
    done = subprocess.run(command, cwd=root / "backend", capture_output=True, text=True, check=False)
    if done.returncode:
        raise TemplateError(
            "The example cannot be removed, and nothing was changed. Mend this, and run the command again:"
            f" {done.stderr.strip()}"
        )


def require_no_other_meaning(new: Names) -> None:
    """Refuse a name such as "Database", because a later rename could not tell it from the ordinary word.

    Only files that a rename changes are searched, and none that this command removes or writes anew.
    """
    if "-" in new.slug:
        return
    others = [f":!{path}" for path in (FOUNDATION, *((*LEFT_OUT, *WRITTEN) if is_fresh() else ()))]
    if succeeds("grep", "--quiet", "--ignore-case", "--word-regexp", new.slug, "--", ".", *others):
        first = "Acme" if new.title == "Service" else new.title
        raise TemplateError(
            f"NAME: the word {new.slug} is used in these files already, and a later rename could not tell them apart;"
            f" add another word, as in {first} Service."
        )


def require_free(paths: Iterable[str]) -> None:
    """Refuse if a file of the new name is there already, because a rename would overwrite it."""
    if there := sorted(path for path in paths if os.path.lexists(ROOT / path)):
        raise TemplateError(f"These files are in the way of the new name; move them first: {', '.join(there)}.")


def require_nothing_to_lose() -> None:
    """Refuse if a folder that is left out has files of which git has no copy."""
    if lost := untracked(*LEFT_OUT):
        raise TemplateError(
            "These files would be deleted with the folders that a project leaves out, and git has no copy of them. Move"
            " them elsewhere or delete them first:\n\n" + "\n".join(f"  {path}" for path in lost)
        )


def way_back(added: list[str]) -> str:
    """The command that undoes everything. `git restore` leaves new files where they are."""
    return " && ".join(["git restore .", *([f"git clean -f -- {shlex.join(added)}"] if added else [])])


def write_own(names: Names, *, has_example: bool) -> None:
    """Write the service's own README and CHANGELOG, and the description of its package."""
    call = (TEXTS / ("call-tasks.md" if has_example else "call-nothing.md")).read_text()
    for path in WRITTEN:
        text = (TEXTS / path).read_text().replace("{{call}}\n", call)
        (ROOT / path).write_text(text.replace("{{title}}", names.title).replace("{{slug}}", names.slug))
    project = ROOT / PROJECT
    line = f'description = "{names.title}: a service over HTTP on PostgreSQL."'
    project.write_text(re.sub(r"^description = .*$", lambda _: line, project.read_text(), count=1, flags=re.MULTILINE))


def taken_out() -> str:
    rows = {group: ", ".join(paths) for group, paths in LEFT_OUT_GROUPS.items()}
    return f"Taken out, because it is about the template:\n\n{table(rows)}\n\n"


def yours_to_write(root: Path) -> str:
    """Which files wait for words of the team; empty if none does."""
    files = {path: root / path for path in TO_WRITE}
    # A sentence may be broken anywhere.
    there = {path: " ".join(file.read_text().split()) for path, file in files.items() if file.exists()}
    left = {path: TO_WRITE[path][1] for path, text in there.items() if TO_WRITE[path][0] in text}
    return f" Yours to write:\n\n{table(left)}" if left else ""


def table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {first:<{width}}  {second}" for first, second in rows.items())


def set_licence_holder(owner: str) -> None:
    licence = ROOT / "LICENSE"
    line = f"Copyright (c) {dt.datetime.now(dt.UTC).year} {owner}"
    licence.write_text(
        re.sub(r"^Copyright \(c\) .*$", lambda _: line, licence.read_text(), count=1, flags=re.MULTILINE)
    )


def about_origin() -> str:
    """What to do with git's remotes, which depends on how the copy was made."""
    branch = git("branch", "--show-current") or "main"
    own = f"  git remote add origin ADDRESS\n  git push --set-upstream origin {branch}"
    addresses = {name: git("remote", "get-url", name) for name in git("remote").splitlines()}
    if "origin" not in addresses:
        return f"There is no remote `origin` yet. With the address of a repository of your own:\n\n{own}"
    if addresses["origin"] == addresses.get(REMOTE):
        return (
            "The remote `origin` is the template, as `template` is. With the address of a repository of your own:\n\n"
            f"{own.replace('remote add', 'remote set-url')}"
        )
    if REMOTE in addresses:
        return (
            "The remote `origin` is your own repository: `git push` when you have committed. `make update` gets later\n"
            "changes from the remote `template`."
        )
    if has_the_templates_history():
        return (
            "If the remote `origin` is still the template, keep it as `template`, from where `make update` gets later\n"
            f"changes, and add a repository of your own:\n\n  git remote rename origin template\n{own}"
        )
    return (
        "The remote `origin` is your own repository: `git push` when you have committed. For later changes of the\n"
        "template, tell its address once: make update TEMPLATE=https://…"
    )


def has_the_templates_history() -> bool:
    """Whether this project is a clone. After "Use this template", the first commit has all of the template's files."""
    if git("rev-parse", "--is-shallow-repository") == "true":
        return True
    roots = git("rev-list", "--max-parents=0", "HEAD").split()
    return not any(succeeds("cat-file", "-e", f"{root}:{FOUNDATION}dev/init.py") for root in roots)


if __name__ == "__main__":
    sys.exit(run_command(init))
