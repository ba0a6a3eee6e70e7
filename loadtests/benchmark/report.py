"""Writes what was measured as Markdown, with a verdict on each target."""

import dataclasses
import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

PACKAGES = ("fastapi", "sqlmodel", "asyncpg", "uvicorn", "uvloop", "httptools", "gunicorn", "orjson")


@dataclass(frozen=True)
class Verdict:
    """A measured value against the limit that it must not exceed."""

    target: int
    what: str
    value: float
    limit: float
    unit: str = ""
    aim: float | None = None
    """A value that is better than the limit. It is the goal, and missing it is not a failure."""

    @property
    def met(self) -> bool:
        return self.value <= self.limit  # False for NaN

    def __str__(self) -> str:
        outcome = "met" if self.met else "MISSED"
        if self.met and self.aim is not None:
            outcome += f", and the aim of {self.aim:g} {'too' if self.value <= self.aim else 'not'}"
        limit = f"{self.limit:g}{self.unit}"
        return f"Target {self.target}, {self.what}: {self.value:.2f}{self.unit} of at most {limit}: **{outcome}**"


@dataclass(frozen=True)
class Section:
    """One table. The first row is its head, and the first column has the names of the rows."""

    title: str
    notes: str
    rows: list[list[str]]
    verdicts: list[Verdict] = field(default_factory=list)

    def __str__(self) -> str:
        head, *rows = (f"| {' | '.join(row)} |" for row in self.rows)
        line = "| --- |" + " ---: |" * (len(self.rows[0]) - 1)
        return "\n".join([f"## {self.title}", "", self.notes, "", head, line, *rows])


def render(sections: list[Section], *, postgres: str, options: str) -> str:
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    missed = sum(not verdict.met for verdict in verdicts)
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    parts = [
        "# Benchmark",
        f"Written by `make benchmark` ({options}) on {datetime.now(UTC):%d %B %Y}."
        f" {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, PostgreSQL {postgres}"
        f" on the same machine; {packages}. Ratios can be compared between machines, times cannot.",
        "`floor` is bare ASGI, asyncpg and orjson (`floor.py`), the reference; `tutorial` is what most"
        " FastAPI + SQLModel tutorials ship (`tutorial.py`); `fastify` has the duties of this service in Node"
        " (`fastify/server.js`; README.md compares the duties). This service runs as in production, with everything"
        " that a request passes switched on, its access log included, which goes to a file.",
        *map(str, sections),
        "## Targets",
        _count(len(verdicts), missed),
        "\n".join(f"- {verdict}" for verdict in verdicts),
    ]
    return "\n\n".join(parts) + "\n"


def replace(text: str, sections: list[Section], command: str) -> str:
    """The report in which these sections and their verdicts replace the old ones."""
    today = f"{datetime.now(UTC):%d %B %Y}"
    for section in sections:
        before, heading, rest = text.partition(f"\n## {section.title}\n")
        if not heading:
            raise ValueError(f"RESULTS.md has no section {section.title}: measure everything once.")
        following = rest[rest.index("\n## ") :]
        noted = dataclasses.replace(section, notes=f"{section.notes} Measured again on {today} (`{command}`).")
        text = f"{before}\n{noted}\n{following}"
        new = {f"- Target {verdict.target}, {verdict.what}: ": f"- {verdict}" for verdict in section.verdicts}
        lines = [next((new[start] for start in new if line.startswith(start)), line) for line in text.split("\n")]
        text = "\n".join(lines)
    verdicts = re.findall(r"^- Target .*$", text, re.MULTILINE)
    missed = sum(line.endswith("**MISSED**") for line in verdicts)
    return re.sub(r"^\d+ of \d+ met, \d+ missed\.$", _count(len(verdicts), missed), text, flags=re.MULTILINE)


def _count(verdicts: int, missed: int) -> str:
    return f"{verdicts - missed} of {verdicts} met, {missed} missed."


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def times(value: float) -> str:
    return f"{value:.2f}"
