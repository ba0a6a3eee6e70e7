"""`make init` makes a copy of the template a project of its own; `make update` brings later changes of the template.

Needs git, and of Python only the standard library: it runs before anything is installed.
"""

import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundwork.dev.names import Names, UnusableNameError, rename

ROOT = Path(__file__).parents[3]
# Where the project's name is written down for these commands: [tool.template] of this file.
PROJECT = "backend/pyproject.toml"
EXAMPLE = "backend/groundwork/dev/example.py"
REMOTE = "template"


class TemplateError(Exception):
    """It cannot be done; the message is a sentence that says what to do."""


def main(arguments: list[str]) -> int:
    commands = {"init": init, "update": update}
    try:
        commands[arguments[0]]()
    except TemplateError as error:
        print(error, file=sys.stderr)
        return os.EX_USAGE
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        print("git is needed here: install it.", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK


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


def update() -> None:
    """Merge what the template has changed since this project was made from it, or since the last update."""
    require_no_changes()
    theirs = fetch(os.environ.get("TEMPLATE", "").strip())
    base = common_commit(theirs)
    if base == theirs:
        print("Nothing new in the template.")
        return
    new = names_in((ROOT / PROJECT).read_text())
    # Both ends of the change under this project's name: a name is then never what two changes quarrel about.
    before = renamed(base, new)
    after = renamed(theirs, new, parent=before)
    message = f"Update from the template, {theirs[:12]}"
    # A merge of both histories that keeps this side's files, and then the change.
    git("merge", "--quiet", "--no-commit", "--no-ff", "--strategy=ours", "--allow-unrelated-histories", theirs)
    if not succeeds("cherry-pick", "--no-commit", after):
        raise TemplateError(
            "Both sides have changed the files that `git status` calls unmerged: mend them, `git add` them and"
            " `git commit`. `git merge --abort` goes back to where you were."
        )
    git("commit", "--quiet", "--message", message)
    print(f"Merged: {git('diff', '--shortstat', 'HEAD^', 'HEAD').strip()}. Next: make test")


def names_of(title: str) -> Names:
    try:
        return Names.of(title)
    except UnusableNameError as error:
        raise TemplateError(f"NAME {error}.") from None


def names_in(project: str) -> Names:
    """The names of the project whose pyproject.toml has this text."""
    name = tomllib.loads(project).get("tool", {}).get("template", {}).get("name")
    if name is None:
        raise TemplateError(f'{PROJECT} does not say the project\'s name: add [tool.template] and below it name = "…".')
    return names_of(name)


def remove_example(root: Path) -> None:
    """By the list of the very tree that it is removed from."""
    if not (root / EXAMPLE).exists():
        raise TemplateError("The example is removed already.")
    command = [sys.executable, "-m", "dev.example"]
    done = subprocess.run(command, cwd=root / "backend", capture_output=True, text=True, check=False)
    if done.returncode:
        raise TemplateError(f"The example cannot be removed, and nothing was changed: {done.stderr.strip()}")


def has_no_example() -> bool:
    project = tomllib.loads((ROOT / PROJECT).read_text())
    return bool(project["tool"]["template"].get("example") == "removed")


def require_no_changes() -> None:
    if not succeeds("rev-parse", "--git-dir"):
        raise TemplateError("This folder is no git repository: `git init && git add --all && git commit` makes it one.")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise TemplateError("There are changes that are not committed: commit them first, so that this can be undone.")


def require_no_other_meaning(new: Names) -> None:
    """Refuse a name such as "Database", which could never be told from the word."""
    if "-" not in new.slug and succeeds("grep", "--quiet", "--ignore-case", "--word-regexp", new.slug):
        raise TemplateError(
            f"NAME: the word {new.slug} is used in these files already; add one, as in Acme {new.title}."
        )


def rename_files(root: Path, old: Names, new: Names) -> list[str]:
    """Rename in all files that git knows below `root`, and the files themselves; returns those that changed."""
    paths = [path for path in git("ls-files", "-z", root=root).split("\0") if path and (root / path).exists()]
    return [path for path in paths if rename_file(root, path, old, new)]


def rename_file(root: Path, path: str, old: Names, new: Names) -> bool:
    file, target = root / path, root / rename(path, old, new)
    if target != file:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    if target.is_symlink() or not target.is_file():
        return target != file
    try:
        text = target.read_bytes().decode()
    except UnicodeDecodeError:
        return target != file
    changed = rename(text, old, new)
    if changed != text:
        target.write_bytes(changed.encode())
    return target != file or changed != text


def set_licence_holder(owner: str) -> None:
    licence = ROOT / "LICENSE"
    line = f"Copyright (c) {dt.datetime.now(dt.UTC).year} {owner}"
    licence.write_text(
        re.sub(r"^Copyright \(c\) .*$", lambda _: line, licence.read_text(), count=1, flags=re.MULTILINE)
    )


def fetch(address: str) -> str:
    """The newest commit of the template's main branch; git remembers its address as the remote `template`."""
    known = succeeds("remote", "get-url", REMOTE)
    if not address and not known:
        raise TemplateError("Say once where the template is: make update TEMPLATE=https://…")
    if address:
        git("remote", *(("set-url",) if known else ("add", "--no-tags")), REMOTE, address)
    print(f"Fetching {git('remote', 'get-url', REMOTE)} …", flush=True)
    if not succeeds("fetch", REMOTE, "HEAD"):
        raise TemplateError(
            "The template could not be fetched, for the reason above; another address: TEMPLATE=https://…"
        )
    return git("rev-parse", "FETCH_HEAD")


def common_commit(theirs: str) -> str:
    """The template's commit that this project has: in its history, or as the tree that it began with."""
    if succeeds("merge-base", "HEAD", theirs):
        return git("merge-base", "HEAD", theirs)
    # "Use this template" copies the files and not the history.
    began_with = {git("rev-parse", f"{root}^{{tree}}") for root in git("rev-list", "--max-parents=0", "HEAD").split()}
    for line in git("log", "--format=%H %T", theirs).splitlines():
        commit, tree = line.split()
        if tree in began_with:
            return commit
    raise TemplateError(
        "This project's first commit is none of the template's. Name the one that it was made from, once:"
        " git merge --strategy=ours --allow-unrelated-histories COMMIT"
    )


def renamed(commit: str, new: Names, parent: str | None = None) -> str:
    """A commit of the template's files under the new name."""
    with checkout(commit) as folder:
        if has_no_example() and (folder / EXAMPLE).exists():
            remove_example(folder)
        rename_files(folder, names_in((folder / PROJECT).read_text()), new)
        git("add", "--all", root=folder)
        parents = ("-p", parent) if parent else ()
        return git("commit-tree", git("write-tree", root=folder), *parents, "-m", f"Template {commit}")


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "template"
        git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


def git(*arguments: str, root: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=root or ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise TemplateError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.removesuffix("\n")


def succeeds(*arguments: str) -> bool:
    """Whether the command succeeds; what it complains of is shown."""
    quiet = subprocess.DEVNULL if arguments[0] != "fetch" else None
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=quiet, stderr=quiet, check=False).returncode == 0  # noqa: S607


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
