"""Keeps only the targets in deploy/ that a project uses, for `make init DEPLOY="vm kubernetes"` and `make update`."""

import os
import re
import tomllib
from collections.abc import Collection
from pathlib import Path

from groundwork.dev.repository import FOUNDATION, PROJECT, TemplateError, git, is_below

# Folders of deploy/ that belong to no target.
ALWAYS = {"observability", "preview", "runbooks"}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def targets(root: Path) -> list[str]:
    """The folders of deploy/ that a project can leave out."""
    paths = (path.split("/") for path in git("ls-files", "-z", "--", "deploy", root=root).split("\0"))
    return sorted({parts[1] for parts in paths if len(parts) > 2} - ALWAYS)  # noqa: PLR2004


def chosen_targets(root: Path, given: str) -> list[str]:
    """The targets that DEPLOY names.

    Raises:
        TemplateError: there is no such target.
    """
    names, there = sorted(set(given.replace(",", " ").split())), targets(root)
    if unknown := [name for name in names if name not in there]:
        raise TemplateError(
            f"DEPLOY: there is no deploy/{unknown[0]}. Name one or more of {', '.join(there)}."
            " Without DEPLOY, all stay."
        )
    return names


def recorded_targets(root: Path) -> list[str] | None:
    """The targets that the project has chosen, or None if it has kept all."""
    found: list[str] | None = tomllib.loads((root / PROJECT).read_text())["tool"]["template"].get("deploy")
    return found


def keep_targets(root: Path, names: Collection[str]) -> None:
    """Remove the other targets: their files that git knows, and the links to them in pages."""
    removed = [f"deploy/{name}" for name in targets(root) if name not in names]
    for path in filter(None, git("ls-files", "-z", "--", *removed, root=root).split("\0") if removed else []):
        (root / path).unlink(missing_ok=True)
        _remove_empty_folders(root / path)
    for path in filter(None, git("ls-files", "-z", "--", "*.md", root=root).split("\0")):
        page = root / path
        if page.exists() and not path.startswith(FOUNDATION):
            text = page.read_text()
            if (without := _without_links(text, path, removed)) != text:
                page.write_text(without)
    project = root / PROJECT
    listed = ", ".join(f'"{name}"' for name in sorted(names))
    line = f"deploy = [{listed}]  # of deploy/, so that `make update` leaves the others out too\n"
    text = re.sub(r"^deploy = \[.*\n", "", project.read_text(), flags=re.MULTILINE)
    project.write_text(text.replace("[tool.template]\n", f"[tool.template]\n{line}"))


def _remove_empty_folders(file: Path) -> None:
    for folder in file.parents:
        try:
            folder.rmdir()
        except OSError:
            return


def _without_links(text: str, page: str, removed: Collection[str]) -> str:
    """The page without the rows of tables that begin with a link to a removed folder. Other links become their text."""

    def leads_there(target: str) -> bool:
        return is_below(os.path.normpath(os.path.join(os.path.dirname(page), target)), removed)  # noqa: PTH118, PTH120

    lines = text.splitlines(keepends=True)
    rows = [re.match(rf"\| {_LINK.pattern} *\|", line) for line in lines]
    kept = [line for line, row in zip(lines, rows, strict=True) if not (row and leads_there(row[2]))]
    return _LINK.sub(lambda link: link[1] if leads_there(link[2]) else link[0], "".join(kept))
