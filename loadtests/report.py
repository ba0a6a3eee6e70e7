"""The report of a load test: a table on the terminal, and report.html with plots. Nothing here needs Locust."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from loadtests.gates import TOTAL, Result
from loadtests.plots import chart
from loadtests.scenarios import SCENARIOS

COLUMNS = ("operation", "requests", "failures", "p50 ms", "p95 ms", "p99 ms", "req/s")
MOST_FAILURES = 10

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; }}
td, th {{ padding: .2em 1em; text-align: right; }} td:first-child, th:first-child {{ text-align: left; }}
.missed {{ color: #b00; }} .met {{ color: #070; }} svg {{ width: 100%; }}
</style>
<h1>{title}</h1>
<p>{about}</p>
{verdict}
<table><tr>{columns}</tr>
{rows}
</table>
{failures}
{plots}
</html>
"""


@dataclass(frozen=True)
class Moment:
    """The figures of the last few seconds, at `seconds` after the start."""

    seconds: float
    users: int
    results: Mapping[str, Result]
    generator_cpu: float

    @property
    def total(self) -> Result:
        return self.results.get(TOTAL, Result())

    def line(self) -> str:
        total = self.total
        return (
            f"{self.seconds:5.0f} s {self.users:6,} users {total.per_second:8,.0f} req/s"
            f"   p50 {total.p50:,.0f}  p95 {total.p95:,.0f}  p99 {total.p99:,.0f} ms   {total.failures} failures"
        )


@dataclass(frozen=True)
class Outcome:
    scenario: str
    host: str
    users: int
    seconds: float
    results: Mapping[str, Result]
    missed: Sequence[str]
    """A sentence for each gate that was missed."""
    notes: Sequence[str]
    failures: Sequence[tuple[int, str]]
    """Each kind of failure: how often it occurred, and its message."""

    def about(self) -> str:
        return f"{self.users:,} users, {self.seconds:.0f} s, {self.host}"

    def verdict(self) -> list[str]:
        return [f"MISSED {sentence}" for sentence in self.missed] or [f"The gate of {self.scenario} was met."]

    def rows(self) -> list[list[str]]:
        return [
            [
                name,
                f"{result.requests:,}",
                f"{result.failures:,}",
                *(f"{time:,.0f}" for time in (result.p50, result.p95, result.p99)),
                f"{result.per_second:,.1f}",
            ]
            for name, result in self.results.items()
        ]

    def text(self) -> str:
        lines = [[*COLUMNS], *self.rows()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in lines
        ]
        failures = [f"{count} times: {error}" for count, error in self.failures[:MOST_FAILURES]]
        return "\n".join(["", f"{self.scenario}: {self.about()}", *table, *failures, "", *self.notes, *self.verdict()])


def write(folder: Path, outcome: Outcome, history: Sequence[Moment]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plots = draw(outcome, history)
    for name, plot in plots.items():
        (folder / f"{name}.svg").write_text(plot)
    (folder / "report.html").write_text(page(outcome, plots.values()))


def draw(outcome: Outcome, history: Sequence[Moment]) -> dict[str, str]:
    gate = SCENARIOS[outcome.scenario].gate
    seconds = [moment.seconds for moment in history]
    totals = [moment.total for moment in history]
    latency = {
        "p50": [total.p50 for total in totals],
        "p95": [total.p95 for total in totals],
        "p99": [total.p99 for total in totals],
    }
    throughput: dict[str, list[float]] = {
        "requests/s": [total.per_second for total in totals],
        "users": [moment.users for moment in history],
        "failures": [total.failures for total in totals],
    }
    operations = {
        name: [moment.results.get(name, Result()).p95 for moment in history]
        for name in outcome.results
        if name != TOTAL
    }
    return {
        "latency": chart("Latency of all operations, ms", seconds, latency, log=True),
        "throughput": chart("Throughput", seconds, throughput),
        "operations": chart("95th percentile of each operation, ms", seconds, operations, log=True, limit=gate.p95_ms),
    }


def page(outcome: Outcome, plots: Iterable[str]) -> str:
    style = "missed" if outcome.missed else "met"
    failures = "".join(f"<li>{count} times: {escape(error)}</li>" for count, error in outcome.failures)
    return _PAGE.format(
        title=escape(f"Load test: {outcome.scenario}"),
        about=escape(outcome.about()),
        verdict="\n".join(
            [
                *(f'<p class="{style}"><b>{escape(sentence)}</b></p>' for sentence in outcome.verdict()),
                *(f"<p>{escape(note)}</p>" for note in outcome.notes),
            ]
        ),
        columns="".join(f"<th>{escape(name)}</th>" for name in COLUMNS),
        rows="\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in outcome.rows()),
        failures=f"<ul>{failures}</ul>" if failures else "",
        plots="\n".join(plots),
    )
