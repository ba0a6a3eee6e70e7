"""A figure in a page is compared with its source, or the page says when it was measured.

A limit, a price and an example are no measurements. Most of them are whole numbers of seconds, bytes or per cent, so
only these count as figures: milliseconds and microseconds, requests per second, and numbers with a decimal point.
"""

import re
import subprocess
from calendar import month_name
from pathlib import Path

import pytest

from groundwork.tests.load.quotes import ROOT, Quote
from groundwork.tests.load.test_quoted_figures import GROUPS

_FIGURE = re.compile(
    r"(?<![\w.])\d[\d,]*(?:\.\d+)? ?(?:ms|µs|requests/s)(?!\w)"
    r"|(?<![\w.])\d[\d,]*\.\d+ ?(?:s|%|MiB|MB|kB|\N{MULTIPLICATION SIGN}|times|thousand)(?!\w)"
)
_DATE = re.compile(rf"\b\d{{1,2}} (?:{'|'.join(month_name[1:])})\s+20\d\d\b")
_CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_SECTIONS = re.compile(r"^(?=#+ )", re.MULTILINE)
# What commands write, and what says for each version what changed.
_WRITTEN = ("RESULTS.md", "CHANGELOG.md")

NOT_MEASURED = {
    "deploy/observability/README.md": {
        "500 ms": "the promise, and the bound of a bucket",
        "99.9 %": "the promise",
        "0.1 %": "the promise's budget",
        "1.44 %": "a threshold of rules.yml",
        "0.3 %": "a threshold of rules.yml",
        "0.8 %": "a threshold of rules.yml",
        "250 ms": "a threshold of rules.yml",
        "100 ms": "a threshold of rules.yml",
    },
}
"""Figures that are no measurements, by page, and what they are."""


def undated(text: str) -> list[str]:
    """The figures in sections without a date. A date above the first section holds for all of them."""
    opening, *sections = _SECTIONS.split(_CODE.sub("", text))[1:] or [text]
    if _DATE.search(opening):
        return []
    without = [section for section in [opening, *sections] if not _DATE.search(section)]
    return [figure[0] for section in without for figure in _FIGURE.finditer(section)]


def pages() -> list[str]:
    command = ["git", "ls-files", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [page for page in listed if Path(page).name not in _WRITTEN]


@pytest.fixture(scope="module")
def quotes() -> list[Quote]:
    return [quote for group in GROUPS for quote in group()]


@pytest.mark.parametrize("page", pages())
def test_each_figure_has_a_source_or_a_date(page: str, quotes: list[Quote]) -> None:
    text = (ROOT / page).read_text()
    for quote in quotes:
        if quote.page == page:
            # The page may break the sentence's lines anywhere.
            sentence = r"\s+".join(re.escape(word) for word in quote.expected.split())
            text = re.sub(sentence, "", text)
    known = NOT_MEASURED.get(page, {})
    assert [figure for figure in undated(text) if figure not in known] == [], (
        f"{page}: say in the same section when these were measured (28 November 2026), or quote the page that has them"
        " and let groundwork/tests/load/quotes_of_pages.py compare, or name them in NOT_MEASURED"
    )


def test_what_is_not_measured_is_still_there() -> None:
    for page, figures in NOT_MEASURED.items():
        assert not figures.keys() - undated((ROOT / page).read_text()), page


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("# A\n\nIt takes 1.3 times as long: 12 ms.\n", ["1.3 times", "12 ms"]),
        ("# A\n\nA bucket has 8 MiB, and 30 s for 2 times 50 %.\n", []),
        ("# A\n\nMeasured on 8 May 2026.\n\n## B\n\nIt took 0.4 s.\n", []),
        ("# A\n\n## B\n\n9 µs on 8 May 2026.\n\n## C\n\n4,000 requests/s.\n", ["4,000 requests/s"]),
        ("# A\n\n```\nslept 0.1 s\n```\n\nVersion 1.3 takes 1.5 %.\n", ["1.5 %"]),
    ],
)
def test_a_section_without_a_date(text: str, figures: list[str]) -> None:
    assert undated(text) == figures
