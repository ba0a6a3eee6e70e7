"""The files that the repository's pages name exist, and so do the headings that their links lead to."""

import re
import subprocess
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The folders where a page's paths may begin, besides its own folder.
BASES = ("", "backend", "backend/groundwork", "backend/groundwork/tests", "loadtests")
ENDINGS = r"(?:py|md|sql|ya?ml|toml|json|ts|txt|conf|rules|mako)"

# Pages that `make init` writes into the root of a copy.
TEXTS = ROOT / "backend" / "groundwork" / "dev" / "service"
# Folders that commands write and git ignores.
WRITTEN = {"loadtests/report/"}

# A link to the pages that GitHub makes of a repository, such as the state of CI, leads out of the files.
_LINK = re.compile(r"\]\((?!https?:|\.\./\.\./actions/)([^)\s]*)\)")
_PATH = re.compile(rf"`((?![/.]|https?:)[\w.{{}},*/-]*(?:/|/[\w.{{}},*-]+\.{ENDINGS}|\.py))`")
# A page that a reader follows names the files that it makes in a line of their own.
_MADE = re.compile(r"^`([^`]+)`:$", re.MULTILINE)
_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if (ROOT / path).exists()]


FILES = files()
NAMES = {Path(path).name for path in FILES}
PAGES = [path for path in FILES if path.endswith(".md")]
each_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def folder(page: Path) -> Path:
    """The folder from which the page's links lead."""
    return ROOT if page.is_relative_to(TEXTS) else page.parent


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes for the headings."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text_of(page)))
    return {heading.strip().replace(" ", "-") for heading in headings}


def spelled_out(path: str) -> list[str]:
    """`a/{b,c}.py` as `a/b.py` and `a/c.py`."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(choice) for choice in product(*choices)]


def exists(path: str, page: Path) -> bool:
    if "/" not in path and path in NAMES:
        return True
    bases = [folder(page), *(ROOT / base for base in BASES)]
    return any(next(base.glob(path.rstrip("/")), None) is not None for base in bases)


@each_page
def test_each_link_leads_somewhere(page: str) -> None:
    source = ROOT / page
    for link in _LINK.findall(text_of(source)):
        path, _, anchor = link.partition("#")
        target = folder(source) / path if path else source
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@each_page
def test_each_file_that_is_named_is_there(page: str) -> None:
    source = ROOT / page
    text = text_of(source)
    made = {*WRITTEN, *_MADE.findall(text)}
    named = {path for each in _PATH.findall(text) if each not in made for path in spelled_out(each)}
    assert not sorted(path for path in named if not exists(path, source))
