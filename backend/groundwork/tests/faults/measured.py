"""What the scenarios measured. RESULTS.md is the one place where it stands, and pages quote it."""

import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
COMMAND = "make test-faults ARGS=--write"

_ROW = re.compile(r"^\| `(?P<test>\w+(?:\[[^\]]+\])?)` \| (?P<figures>.+) \| (?P<day>\d+ \w+ \d{4}) \|$", re.MULTILINE)


def today() -> str:
    now = datetime.now(UTC)
    return f"{now.day} {now:%B %Y}"


def figures(text: str) -> dict[str, tuple[str, str]]:
    """By test, its figures and the day on which they were measured."""
    return {row["test"]: (row["figures"], row["day"]) for row in _ROW.finditer(text)}


def replace(text: str, measured: Mapping[str, str], *, postgres: str, load: float) -> str:
    """The page `text` with what was measured today in the place of what it said of the same tests."""
    day = today()
    rows = figures(text) | {test: (said, day) for test, said in measured.items()}
    lines = [f"| `{test}` | {said} | {of} |" for test, (said, of) in sorted(rows.items())]
    return "\n".join(
        [
            "# Faults: what was measured",
            "",
            f"Written by `{COMMAND}`, last on {day}: {os.cpu_count()} cores ({platform.machine()}), Python"
            f" {platform.python_version()}, PostgreSQL {postgres}. Other work on the machine is in these figures: its"
            f" load average was {load:.1f} when the tests began. [README.md](README.md) says what each test does and"
            " what it promises.",
            "",
            "| test | measured | on |",
            "| --- | --- | --- |",
            *lines,
            "",
        ]
    )
