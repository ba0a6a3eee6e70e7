"""Advice about each file that a project and the template have both changed."""

import re
import shlex
from collections.abc import Iterator, Mapping

from groundwork.dev.repository import git

# These files are compiled from backend/pyproject.toml, so they are not edited by hand.
_COMPILED = re.compile(r"requirements[\w-]*\.txt$")


def unmerged() -> dict[str, str]:
    """Each file that git could not merge, with git's two letters for what happened to it."""
    entries = git("status", "--porcelain", "-z", "--untracked-files=no").split("\0")
    # A renamed file has two entries. The second one is its old name alone.
    return {entry[3:]: entry[:2] for entry in entries if re.match("(DD|AA|UU|[AD]U|U[AD]) ", entry)}


def advise(conflicts: Mapping[str, str], moved: Mapping[str, str]) -> str:
    """The message for people: what to do about every file, then how to go on and how to go back.

    Args:
        conflicts: the result of `unmerged`.
        moved: files that the template has moved, with their new places.
    """
    lines = [
        "These files were changed by you and by the template, in the same place. Everything else is merged.",
        "",
        *(line for path, kind in sorted(conflicts.items()) for line in _advise(path, kind, moved.get(path))),
        "To go on, when you have mended all of them:",
        f"  git add {' '.join(map(shlex.quote, sorted(conflicts)))}",
        "  git cherry-pick --continue",
        "To go back to where you were: git cherry-pick --abort",
    ]
    if any(_COMPILED.search(path) for path in conflicts):
        lines.append("After that: make lock")
    return "\n".join(lines)


def _advise(path: str, kind: str, moved: str | None) -> Iterator[str]:
    yield f"{path}:"
    name = shlex.quote(path)
    if kind == "UD":
        there = f"moved it to {moved}: make your change there" if moved else "deleted it: see whether you still need it"
        yield f"  You have changed it. The template has {there}."
        yield f"  Yours: git add {name}. The template's: git rm {name}, and leave it out of the `git add` below."
    elif _COMPILED.search(path):
        yield f"  It is compiled. Take the template's: git checkout --theirs -- {name}. `make lock` adds your packages."
    else:
        yield "  Edit it: your text stands between <<<<<<< and =======, and the template's between ======= and >>>>>>>."
        yield f"  Or take all of yours: git checkout --ours -- {name}"
        yield f"  Or take all of the template's: git checkout --theirs -- {name}"
    yield ""
