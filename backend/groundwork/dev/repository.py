"""The repository that `make init` and `make update` change: its files, its name, and git."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from groundwork.dev.names import Names, UnusableNameError, rename

# `make` runs these commands in backend/.
ROOT = Path.cwd().parent
# [tool.template] of this file holds the project's name for these commands.
PROJECT = "backend/pyproject.toml"


# The library. Its files are never renamed, and `make update` replaces them.
FOUNDATION = "backend/groundwork/"
# What no copy has, because it is about the template. `make init` names the groups.
LEFT_OUT_GROUPS = {
    "the library's own tests": ["backend/groundwork/tests"],
    "the benchmark and its model": ["loadtests/benchmark", "loadtests/model"],
    "what runs them in CI": [".github/workflows/foundation.yml", ".github/workflows/newest.yml", ".ci/newest"],
    "pages about the template": [
        "docs/README.md",
        "docs/is-this-for-me.md",
        "docs/take-it.md",
        "docs/pictures",
        "llms.txt",
    ],
}
LEFT_OUT = [path for paths in LEFT_OUT_GROUPS.values() for path in paths]
# The remote from which `make update` gets later changes.
REMOTE = "template"
# Files that `make init` writes anew. `make update` does not touch them.
WRITTEN = ["README.md", "CHANGELOG.md"]
# The team's settings, lifespan, middleware, errors and metrics, and the version of its clients. `make update` does not
# touch those that a project has.
TEAM = [
    "backend/app/core/config.py",
    "backend/app/core/errors.py",
    "backend/app/core/metrics.py",
    "backend/app/extensions.py",
    "clients/version.json",
]


class TemplateError(Exception):
    """The command cannot be carried out. The message is a sentence that says what to do."""


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


def require_no_changes() -> None:
    if not succeeds("rev-parse", "--git-dir"):
        raise TemplateError("This folder is no git repository. Make it one: `git init && git add --all && git commit`.")
    if git("status", "--porcelain", "--untracked-files=no"):
        raise TemplateError("There are changes that are not committed: commit them first, so that this can be undone.")


def is_fresh() -> bool:
    """Whether the repository still has what `make init` leaves out."""
    return bool(git("ls-files", "--", LEFT_OUT[0]))


def untracked(*paths: str) -> list[str]:
    """Files below these paths that git neither knows nor ignores. Once deleted, they could not be restored."""
    listed = git("ls-files", "--others", "--exclude-standard", "-z", "--", *paths)
    return [path for path in listed.split("\0") if path]


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether the path is one of these files or folders, or in one of them."""
    return any(f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in folders)


def leave_out(root: Path, paths: Iterable[str]) -> None:
    """Remove these files and folders below `root`, if they exist."""
    for path in paths:
        if (root / path).is_dir():
            shutil.rmtree(root / path)
        else:
            (root / path).unlink(missing_ok=True)


def rename_files(root: Path, old: Names, new: Names) -> list[str]:
    """Rename the project in the files that git knows below `root`, and in their paths. Returns the new paths.

    The library does not name the service, so it is left out.
    """
    moved = moved_files(root, old, new)
    for path in _renamable(root):
        rename_file(root / path, root / moved.get(path, path), old, new)
    return list(moved.values())


def moved_files(root: Path, old: Names, new: Names) -> dict[str, str]:
    """The files whose path holds the old name, with their paths under the new one."""
    renamed = {path: rename(path, old, new) for path in _renamable(root)}
    return {path: target for path, target in renamed.items() if target != path}


def _renamable(root: Path) -> list[str]:
    known = git("ls-files", "-z", root=root).split("\0")
    return [path for path in known if path and not path.startswith(FOUNDATION) and (root / path).exists()]


def rename_file(file: Path, target: Path, old: Names, new: Names) -> None:
    if target != file:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    if target.is_symlink() or not target.is_file():
        return
    try:
        text = target.read_bytes().decode()
    except UnicodeDecodeError:
        return
    changed = rename(text, old, new)
    if changed != text:
        target.write_bytes(changed.encode())


def git(*arguments: str, root: Path | None = None, stdin: str = "", index: Path | None = None) -> str:
    """The output of a git command.

    Args:
        arguments: the command's arguments, without `git`.
        root: the folder in which it runs, by default the project's root.
        stdin: the command's input.
        index: an index file to use instead of the repository's.

    Raises:
        TemplateError: the command failed.
    """
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607
        cwd=root or ROOT,
        env={**os.environ, "GIT_INDEX_FILE": str(index)} if index else None,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TemplateError(f"git {arguments[0]} failed. Mend this, and run the command again: {done.stderr.strip()}")
    return done.stdout.removesuffix("\n")


def succeeds(*arguments: str) -> bool:
    """Whether a git command succeeds. Only `fetch` shows its output."""
    quiet = subprocess.DEVNULL if arguments[0] != "fetch" else None
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=quiet, stderr=quiet, check=False).returncode == 0  # noqa: S607


def run_command(command: Callable[[], None]) -> int:
    """Run a command, and print a `TemplateError` as a sentence. Returns the exit status."""
    try:
        command()
    except TemplateError as error:
        print(error, file=sys.stderr)
        return os.EX_USAGE
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        print("git is needed here: install it.", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return os.EX_OK
