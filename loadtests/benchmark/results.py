"""Reads the figures of RESULTS.md. They stand only there: pages quote them, and pictures are drawn from them."""

import re
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


class Results:
    """The tables of one report, by section, row and column."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def date(self) -> str:
        """The day of the last complete run, such as "28 November 2026"."""
        [found] = re.findall(r"^Written by `make benchmark` \(.*?\) on (\d+ \w+ \d{4})\.", self._text, re.MULTILINE)
        return str(found)

    def cell(self, section: str, row: str, column: str) -> list[str]:
        """The values of a cell as they are written: "137 µs = 1.36" are "137 µs" and "1.36".

        Raises:
            KeyError: there is no such section, row or column.
        """
        head = self._table(section)[0]
        if column not in head:
            raise KeyError(f"{section}: {column}")
        return re.split(r" = |, ", self.row(section, row)[head.index(column)])

    def row(self, section: str, name: str) -> list[str]:
        """All cells of a row. The first is its name.

        Raises:
            KeyError: there is no such section or row.
        """
        for cells in self._table(section)[1:]:
            if cells[0] == name:
                return cells
        raise KeyError(f"{section}: {name}")

    def number(self, section: str, row: str, column: str, part: int = 0) -> float:
        """One value of a cell without its unit."""
        return float(self.cell(section, row, column)[part].split()[0].replace(",", ""))

    def _table(self, section: str) -> list[list[str]]:
        _, heading, rest = self._text.partition(f"\n## {section}\n")
        if not heading:
            raise KeyError(section)
        lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return [rows[0], *rows[2:]]


@cache
def results() -> Results:
    """The report in the repository."""
    return Results(RESULTS.read_text())
