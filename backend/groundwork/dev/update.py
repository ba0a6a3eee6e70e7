"""`python -m groundwork.dev.update`: brings later changes of the template to a project, for `make update`.

Needs git, and of Python only the standard library.
"""

import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundwork.dev.init import EXAMPLE, remove_example
from groundwork.dev.names import Names
from groundwork.dev.repository import (
    LEFT_OUT,
    PROJECT,
    ROOT,
    WRITTEN,
    TemplateError,
    git,
    leave_out,
    names_in,
    rename_files,
    require_no_changes,
    run_command,
    succeeds,
)

REMOTE = "template"


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


def has_no_example() -> bool:
    project = tomllib.loads((ROOT / PROJECT).read_text())
    return bool(project["tool"]["template"].get("example") == "removed")


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
        leave_out(folder, [*LEFT_OUT, *WRITTEN])
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


if __name__ == "__main__":
    sys.exit(run_command(update))
