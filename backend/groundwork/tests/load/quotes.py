"""A quote: a sentence of a page with gaps, and the values that belong there, from the one place where they stand."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[4]


class Quote(NamedTuple):
    page: str
    sentence: str
    values: Sequence[str]

    @property
    def expected(self) -> str:
        return self.sentence.format(*self.values)


def page_text(page: str) -> str:
    """In one line, as sentences may end in the next."""
    return re.sub(r"\s+", " ", (ROOT / page).read_text())


def found(page: str, pattern: str) -> list[str]:
    """The values of the one place in this page that fits the pattern."""
    places = list(re.finditer(pattern, page_text(page)))
    assert len(places) == 1, f"{page}, {len(places)} places: {pattern}"
    return list(places[0].groups())
