"""What the scenarios measured. RESULTS.md is the one place where it stands, and pages quote it."""

import os
import platform
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from loadtests.benchmark.processes import busy_seconds, tree

RESULTS = Path(__file__).with_name("RESULTS.md")
COMMAND = "make test-faults ARGS=--write"

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_ROW = re.compile(r"^\| `(\w+(?:\[[^\]]+\])?)` \| (.+) \| (\d+\.\d) \| (\d+ \w+ \d{4}) \|$", re.MULTILINE)


class Measured(NamedTuple):
    """What a test said, and what tells how much it is worth."""

    figures: str
    others: str
    """Cores that other programs used meanwhile."""
    day: str


class Watch:
    """How much of the machine other programs take, from now on."""

    def __init__(self) -> None:
        self._began = self._times()

    def others(self) -> float:
        """Cores that were busy with other programs than this one and those that it started."""
        seconds, busy, own = (now - before for now, before in zip(self._times(), self._began, strict=True))
        return max(0.0, (busy - own) / seconds)

    def _times(self) -> tuple[float, float, float]:
        return time.monotonic(), busy_seconds(), own_seconds()


def own_seconds() -> float:
    """CPU time of this process and all that it started, those that have ended included."""
    ticks = 0
    for each in tree(os.getpid()):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_SECOND


def today() -> str:
    now = datetime.now(UTC)
    return f"{now.day} {now:%B %Y}"


def rows(text: str) -> dict[str, Measured]:
    """The page's rows, by test."""
    return {test: Measured(*rest) for test, *rest in _ROW.findall(text)}


def replace(text: str, measured: Mapping[str, Measured], *, postgres: str) -> str:
    """The page `text` with these rows in the place of those of the same tests."""
    found = sorted((rows(text) | dict(measured)).items())
    lines = [f"| `{test}` | {row.figures} | {row.others} | {row.day} |" for test, row in found]
    return "\n".join(
        [
            "# Faults: what was measured",
            "",
            f"Written by `{COMMAND}`, last on {today()}: {os.cpu_count()} cores ({platform.machine()}), Python"
            f" {platform.python_version()}, PostgreSQL {postgres}. [README.md](README.md) says what each test does and"
            " what it promises. Where other programs used much of the cores meanwhile, the figures are worse for it.",
            "",
            "| test | measured | others' cores | on |",
            "| --- | --- | ---: | --- |",
            *lines,
            "",
        ]
    )
