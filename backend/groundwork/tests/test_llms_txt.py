"""llms.txt has the form of llmstxt.org. It lists each page of documentation, and each link leads to a file."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Texts that commands write into copies or serve, what GitHub shows in a pull request, and what assistants find
# without it.
NO_PAGES = (".agents/", "backend/groundwork/dev/service/", "backend/groundwork/http/openapi_guide.md", ".github/")
_LINK = re.compile(r"- \[(.+)\]\((.+)\): (.+)")


def test_every_page_is_in_it_once() -> None:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = [page for page in listed.splitlines() if not page.startswith(NO_PAGES)]
    links = [link[2] for link in _LINK.finditer((ROOT / "llms.txt").read_text())]
    assert sorted(links) == sorted(pages)


def test_it_has_the_form() -> None:
    title, *lines = (ROOT / "llms.txt").read_text().splitlines()
    assert title.startswith("# ")
    assert next(line for line in lines if line).startswith("> ")
    for line in lines[lines.index("## Begin") :]:
        link = _LINK.fullmatch(line)
        assert not line or line.startswith("## ") or (link and link[1] == link[2]), line
