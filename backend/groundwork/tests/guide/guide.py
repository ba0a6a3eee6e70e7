"""Reads the code in a page of `docs/` and applies it to a copy of the repository."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[4]
# What git ignores, and git's own folder. The cache of mypy is copied, because it saves half a minute.
_LEFT_OUT = (".git", ".venv*", ".data", "report", "__pycache__", ".pytest_cache", ".hypothesis", ".env")
_BLOCK = re.compile(r"^(?:`([^`\n]+)`:\n\n)?```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class GuideError(Exception):
    """The page and the repository no longer fit. The message says what to change."""


class Block(NamedTuple):
    """The code of one file: the whole of a new file, or changes to an existing one."""

    path: str
    language: str
    code: str

    @property
    def added(self) -> list[str]:
        """The lines that a reader of the page writes, without empty lines."""
        lines = self.code.splitlines()
        if self.language == "diff":
            lines = [line[1:] for line in lines if line.startswith("+")]
        return [line for line in lines if line.strip()]


class Guide:
    """A page in which each block of Python or of changes follows the name of its file.

    Args:
        page: a file of Markdown.
        until: the title of the section at which the reader stops. Without it, the whole page is followed.
    """

    def __init__(self, page: Path, *, until: str | None = None) -> None:
        self.name = page.name
        self.text = page.read_text()
        if until:
            self.text, heading, _ = self.text.partition(f"\n## {until}\n")
            if not heading:
                raise GuideError(f"{self.name}: there is no section {until!r}")
        self.blocks = self.blocks_in(self.text)

    def blocks_in(self, text: str) -> list[Block]:
        """The blocks in a part of the page."""
        blocks = [Block(*match.groups()) for match in _BLOCK.finditer(text)]
        for block in blocks:
            if not block.path:
                raise GuideError(f"{self.name}: no file is named before this block:\n{block.code}")
        return blocks

    def apply(self, copy: Path) -> None:
        for block in self.blocks:
            path = copy / block.path
            if block.language == "diff":
                path.write_text(self.changed(block, path.read_text()))
            elif path.exists():
                raise GuideError(f"{self.name}: {block.path} is shown as a new file, but there is one already")
            else:
                path.write_text(block.code)

    def changed(self, block: Block, text: str) -> str:
        """The text with the changes that the block shows."""
        for change in block.code.split("@@\n"):
            lines = change.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            if (times := text.count(old)) != 1:
                there = "is no longer" if not times else f"is {times} times"
                raise GuideError(f"{self.name}: what this change looks for {there} in {block.path}:\n{change}")
            text = text.replace(old, new)
        return text


def copy_repository(to: Path) -> Path:
    """A copy of the repository as it is now, committed or not."""
    return Path(shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True))
