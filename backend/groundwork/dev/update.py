"""`python -m groundwork.dev.update` brings later changes of the template to a project, for `make update`.

The library, `backend/groundwork`, is replaced whole. Everywhere else, the template's changes since the last update are
merged. Needs git, and of Python only the standard library.
"""

import os
import re
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from groundwork.dev.conflicts import advise, unmerged
from groundwork.dev.init import A_FILE_OF_THE_EXAMPLE, remove_example
from groundwork.dev.names import Names
from groundwork.dev.repository import (
    FOUNDATION,
    LEFT_OUT,
    PROJECT,
    REMOTE,
    ROOT,
    TEAM,
    WRITTEN,
    TemplateError,
    git,
    is_below,
    is_fresh,
    names_in,
    rename_files,
    require_no_changes,
    run_command,
    succeeds,
)
from groundwork.dev.targets import keep_targets, recorded_targets
from groundwork.dev.trees import blob_of, files_in, make_tree, text_in

# The file that records the template's commit that this project has. git's history cannot tell: a squashed pull request
# loses it, and a revert of an update must also revert the record.
RECORD = ".template"
LIBRARY = FOUNDATION.rstrip("/")


def update() -> None:
    """Replace the library, and merge the template's other changes since the last update.

    Raises:
        TemplateError: the update is impossible, or a person must resolve conflicts.
    """
    require_no_update_under_way()
    require_no_changes()
    require_init()
    if git("rev-parse", "--show-prefix"):
        raise TemplateError(
            "The project is a folder of a larger repository: `make update` needs one of its own. Move the project"
            " into it, and run the command there."
        )
    theirs = fetch(os.environ.get("TEMPLATE", "").strip())
    base = common_commit(theirs, os.environ.get("FROM", "").strip())
    if succeeds("merge-base", "--is-ancestor", theirs, base):
        print("Nothing new in the template.")
        return
    require_no_edits(base)
    before, after = both_ends(base, theirs)
    require_nothing_in_the_way(before, after)
    if files_in(after, LIBRARY):
        report_brought_back(base, after)
        report(before, after)
    try:
        # Without git's guesses at renamed files, which could move a change into the library or out of it. The strategy
        # is named because git's newer one, ort, obeys the option only since 2.50.
        git("cherry-pick", "--strategy=recursive", "--strategy-option=no-renames", after)
    except TemplateError:
        if conflicts := unmerged():
            raise TemplateError(advise(conflicts, moved(before, after))) from None
        raise
    print(f"\nMerged: {git('diff', '--shortstat', 'HEAD^', 'HEAD').strip()}. Next:\n")
    if succeeds("diff", "--quiet", "HEAD^", "HEAD", "--", PROJECT):
        print("  make check test")
    else:
        print("  make lock\n  make check test")


def require_no_update_under_way() -> None:
    if succeeds("rev-parse", "--quiet", "--verify", "CHERRY_PICK_HEAD"):
        raise TemplateError(
            "An update is not finished: mend the files that `git status` calls unmerged, then `git add` them and"
            " `git cherry-pick --continue`; or go back by `git cherry-pick --abort`."
        )


def require_init() -> None:
    if is_fresh():
        raise TemplateError(
            "This copy is not a project of its own yet, and an update would remove the foundation's tests from it. Give"
            ' it a name first: make init NAME="Acme Orders" OWNER="Acme Ltd"'
        )


def fetch(address: str) -> str:
    """The newest commit of the template's main branch; git remembers its address as the remote `template`."""
    known = succeeds("remote", "get-url", REMOTE)
    if not address and not known:
        raise TemplateError("Say once where the template is: make update TEMPLATE=https://…")
    if address:
        git("remote", *(("set-url",) if known else ("add", "--no-tags")), REMOTE, address)
    print(f"Fetching {git('remote', 'get-url', REMOTE)} …", flush=True)
    if not succeeds("fetch", "--quiet", REMOTE, "HEAD"):
        raise TemplateError(
            "The template could not be fetched; git says why above. Try again, or give another address: make update TEMPLATE=https://…"
        )
    return git("rev-parse", "FETCH_HEAD")


def common_commit(theirs: str, given: str = "") -> str:
    """The template's commit that this project has.

    It is given or recorded. Before the first update, it is the newest commit in both histories, or the commit whose
    files are those of this project's first commit.
    """
    if given:
        if not succeeds("merge-base", "--is-ancestor", given, theirs):
            raise TemplateError(
                f"FROM: {given} is none of the template's commits: give the one that the project was made from."
            )
        return git("rev-parse", f"{given}^{{commit}}")
    recorded = (text_in("HEAD", RECORD) or "").strip()
    if recorded and succeeds("cat-file", "-e", f"{recorded}^{{commit}}"):
        return recorded
    if succeeds("merge-base", "HEAD", theirs):
        return git("merge-base", "HEAD", theirs)
    # "Use this template" copies the files and not the history.
    began_with = {git("rev-parse", f"{root}^{{tree}}") for root in git("rev-list", "--max-parents=0", "HEAD").split()}
    for line in git("log", "--format=%H %T", theirs).splitlines():
        commit, tree = line.split()
        if tree in began_with:
            return commit
    raise TemplateError(
        "It cannot be seen which commit of the template this project was made from. Name it once: make update"
        f" FROM=COMMIT. `git log {theirs[:12]}` lists them."
    )


def require_no_edits(base: str) -> None:
    """Refuse if a file of the library was edited or added. A deleted file is no lost work, and comes back."""
    came, here = files_in(base, LIBRARY), files_in("HEAD", LIBRARY)
    edited = sorted(path for path, content in here.items() if path in came and came[path] != content)
    added = sorted(path for path in here if path not in came)
    if not edited and not added:
        return
    lines = [
        f"Somebody has edited {LIBRARY}, which an update replaces whole. Nothing was changed. These files differ:",
        "",
        *(f"  {path}" for path in edited),
        *(f"  {path} (added)" for path in added),
        "",
        "Move what you need to backend/app, and propose to the template what the library lacks. Then:",
    ]
    if edited:
        lines.append(f"  git restore --source={base[:12]} --staged --worktree -- {_words(edited)}")
    if added:
        lines.append(f"  git rm -- {_words(added)}")
    lines += ['  git commit --message "groundwork as it came"', "  make update"]
    raise TemplateError("\n".join(lines))


def both_ends(base: str, theirs: str) -> tuple[str, str]:
    """The template's changes as two commits, one after the other, as far as they concern this project.

    Both use this project's name, so that names cause no conflicts. The first has this project's library and the second
    the template's, so that git has nothing to merge in the library.
    """
    new = names_in((ROOT / PROJECT).read_text())
    old_tree, new_tree = renamed(base, new), renamed(theirs, new)
    old, now, ours = files_in(old_tree), files_in(new_tree), files_in("HEAD")
    gone = {path for path in old if path not in ours} | _in_deleted_folders(now, old, ours)
    kept = [path for path in TEAM if path in ours]
    apart = [*LEFT_OUT, *WRITTEN, *kept, RECORD]
    gone = {path for path in gone if not is_below(path, [LIBRARY, *apart])}
    if unwanted := sorted(path for path in gone if now.get(path) != old.get(path) and path in now):
        print("\nNot brought, because this project has deleted or moved the file or its folder:")
        print(*(f"  {path}" for path in unwanted), sep="\n")
    if changed := [path for path in kept if path in now and now[path] != old.get(path)]:
        print("\nNot brought, because these files are the team's own. To see what the template has changed there:")
        print(f"  git diff {old_tree[:12]} {new_tree[:12]} -- {_words(changed)}")
    drop = {path for path in old | now if is_below(path, apart)} | gone
    library = {path for path in old | now if is_below(path, [LIBRARY])}
    here = any(is_below(path, [LIBRARY]) for path in ours)
    before = make_tree(
        old_tree,
        remove=drop | library,
        folders={LIBRARY: f"HEAD:{LIBRARY}"} if here else {},
        blobs={RECORD: ours[RECORD]} if RECORD in ours else {},
    )
    # A project without the folder has the library as a package. A project that is older than the folder gets it now.
    packaged = not here and any(is_below(path, [LIBRARY]) for path in old)
    after = make_tree(new_tree, remove=drop | (library if packaged else set()), blobs={RECORD: blob_of(f"{theirs}\n")})
    first = git("commit-tree", before, "-m", f"The template, {base[:12]}")
    message = f"Update from the template, {theirs[:12]}" + ("" if packaged else f" ({versions(before, after)})")
    return first, git("commit-tree", after, "-p", first, "-m", message)


def require_nothing_in_the_way(before: str, after: str) -> None:
    """Refuse if the template has new files where this project has files that git does not know."""
    known = files_in("HEAD")
    added = git("diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", before, after).split("\0")
    # A file can also stand where a new folder has to be.
    places = {str(place) for path in added if path for place in (PurePosixPath(path), *PurePosixPath(path).parents)}
    unknown = sorted(place for place in places if place not in known and _is_file(ROOT / place))
    if unknown:
        raise TemplateError(
            "The template has new files where you have files that git does not know. Nothing was changed. Move these"
            " first, or commit them:\n\n" + "\n".join(f"  {path}" for path in unknown)
        )


def _is_file(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def report_brought_back(base: str, after: str) -> None:
    """Name the files of the library that this project has deleted, and that the update brings back."""
    here = files_in("HEAD", LIBRARY)
    if here and (back := sorted((files_in(base, LIBRARY).keys() & files_in(after, LIBRARY)) - here.keys())):
        print(f"\nThis project has deleted these files. They come back, because {LIBRARY} is replaced whole:")
        print(*(f"  {path}" for path in back), sep="\n")


def _in_deleted_folders(now: Iterable[str], old: Iterable[str], ours: Iterable[str]) -> set[str]:
    """New files of the template in folders that this project has deleted."""
    folders = {str(folder) for path in old for folder in PurePosixPath(path).parents}
    folders -= {str(folder) for path in ours for folder in PurePosixPath(path).parents}
    return {path for path in now if any(str(folder) in folders for folder in PurePosixPath(path).parents)}


def renamed(commit: str, new: Names) -> str:
    """The tree of the template's files under the new name."""
    with checkout(commit) as folder:
        if has_no_example() and (folder / A_FILE_OF_THE_EXAMPLE).exists():
            remove_example(folder)
        if kept := recorded_targets(ROOT):
            keep_targets(folder, kept)
        rename_files(folder, names_in((folder / PROJECT).read_text()), new)
        git("add", "--all", root=folder)
        return git("write-tree", root=folder)


def has_no_example() -> bool:
    project = tomllib.loads((ROOT / PROJECT).read_text())
    return bool(project["tool"]["template"].get("example") == "removed")


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "template"
        git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        try:
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


def moved(before: str, after: str) -> dict[str, str]:
    """Files that the template has moved, with their new places."""
    words = git("diff", "--name-status", "--find-renames", "--diff-filter=R", "-z", before, after).split("\0")
    return dict(zip(words[1::3], words[2::3], strict=True))


def report(before: str, after: str) -> None:
    """Print the library's versions and the new lines of its CHANGELOG."""
    print(f"\n{versions(before, after)}.")
    changes = git("diff", "--unified=0", before, after, "--", f"{LIBRARY}/CHANGELOG.md")
    lines = re.findall(r"^\+(?!\+\+ )(.*)$", changes, re.MULTILINE)
    if any(lines):
        print("", *(f"  {line}".rstrip() for line in lines if line), sep="\n")


def versions(before: str, after: str) -> str:
    old, new = version(before), version(after)
    return f"groundwork {new}, as before" if old == new else f"groundwork {old} to {new}"


def version(commit: str) -> str:
    found = re.search(r'^__version__ = "([^"]+)"', text_in(commit, f"{LIBRARY}/__init__.py") or "", re.MULTILINE)
    return found[1] if found else "without a version"


def _words(paths: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, paths))


if __name__ == "__main__":
    sys.exit(run_command(update))
