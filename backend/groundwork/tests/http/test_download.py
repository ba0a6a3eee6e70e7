"""CSV that a spreadsheet and a program can read."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pydantic import BaseModel

from groundwork.http.download import csv_of

FORMULAS = [
    "=1+1", '=HYPERLINK("http://example.com")', "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1",
    "-", "+49 30 1234", "--1", "-1e5", "-1\n", "-1,5", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "'", "'=1",
]  # fmt: skip
PLAIN = ["", "a", "a=1", " =1", "1", "-1", "+1", "-12.50", "\u00e4", 'b,"c"', "a\nb", "\u2212x"]


class Line(BaseModel):
    text: Any


async def written(*values: Any, **options: Any) -> list[str]:
    """The cells of a file with one value in each line."""

    async def rows() -> AsyncIterator[Line]:
        for value in values:
            yield Line(text=value)

    parts = [part async for part in csv_of(rows(), ["text"], **options)]
    first, *lines = csv.reader(io.StringIO(b"".join(parts).decode(), newline=""))
    assert first == ["text"]
    return [line[0] if line else "" for line in lines]


def read(cell: str) -> str:
    """As a program reads it."""
    return cell.removeprefix("'")


@pytest.mark.parametrize("text", FORMULAS)
async def test_a_formula_becomes_a_text(text: str) -> None:
    [cell] = await written(text)
    assert cell == f"'{text}"
    assert read(cell) == text
    assert await written(text, exact=True) == [text]


async def test_every_other_text_and_each_number_stays_as_it_is() -> None:
    assert await written(*PLAIN) == PLAIN
    numbers = (-5, -1.5, Decimal("-12.50"), True, None)
    assert await written(*numbers) == ["-5", "-1.5", "-12.50", "True", ""]
    assert await written(timedelta(days=-1)) == ["'-P1D"]


@profile(deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=5))
async def test_a_program_has_every_text_again(texts: list[str]) -> None:
    cells = await written(*texts)
    assert [read(cell) for cell in cells] == texts
    assert all(cell[:1] not in ("=", "@", "\t", "\r", "\n") for cell in cells)
    assert await written(*texts, exact=True) == texts
