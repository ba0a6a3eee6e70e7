"""The figures that pages quote equal those in their source: RESULTS.md, the page on faults, or docs/capacity.md.

Each quote is a sentence with gaps, and the values for the gaps. If a page does not have the whole sentence, the test
fails and says which sentence the page should have.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from loadtests.benchmark import drawings
from loadtests.benchmark.results import Results, results

ROOT = Path(__file__).parents[4]
FAULTS = "backend/groundwork/tests/faults/README.md"
OPERATIONS = drawings.OPERATIONS
OURS = "this service"
TIMES = "\N{MULTIPLICATION SIGN}"
# A measured figure in a text: a number with one of the units of this project's figures.
_MEASURED = re.compile(rf"\d[\d,.]* ?(?:ms|µs|s|MiB|MB|kB|{TIMES}|times|requests/s|%)(?!\w)")


class Quote(NamedTuple):
    page: str
    sentence: str
    values: Sequence[str]

    @property
    def expected(self) -> str:
        return self.sentence.format(*self.values)


def cell(section: str, row: str, column: str, part: int = 0) -> str:
    return results().cell(section, row, column)[part]


def cpu(row: str, operation: str) -> str:
    return cell("CPU per request", row, operation, 1)


def micros(row: str) -> list[str]:
    """The microseconds in a row of the table of CPU."""
    return [cell("CPU per request", row, operation).removesuffix(" µs") for operation in OPERATIONS]


def tail(row: str, operation: str, part: int) -> str:
    return cell("The tail at 100 connections", row, operation, part)


def growth(row: str) -> str:
    return cell("Growth of the table", row, "ratio")


def instructions(column: str, part: int = 0) -> str:
    return cell("Instructions per request", OURS, column, part)


def least_and_most(values: Sequence[str]) -> list[str]:
    ordered = sorted(values, key=float)
    return [ordered[0], ordered[-1]]


def fault(scenario: str, pattern: str) -> list[str]:
    """The figures of a row of the page on faults."""
    [row] = [line for line in (ROOT / FAULTS).read_text().splitlines() if line.startswith(f"| {scenario} |")]
    found = re.search(pattern, row)
    assert found, f"{scenario}: {pattern}"
    return list(found.groups())


def page_text(page: str) -> str:
    """The text of a page as one line, because a sentence may continue on the next line."""
    return re.sub(r"\s+", " ", (ROOT / page).read_text())


def of_readme() -> Iterator[Quote]:
    ours, tutorial = ([cpu(row, operation) for operation in OPERATIONS] for row in (OURS, "tutorial"))
    yield Quote(
        "README.md",
        "- **A request takes {} to {} times the CPU of bare ASGI.** The same API, written as in most"
        " tutorials, takes {} to {} times.",
        [*least_and_most(ours), *least_and_most(tutorial)],
    )
    yield Quote(
        "README.md",
        f"- **p99 is {{}} {TIMES} p50** for a get, at 100 connections that never pause."
        f" For bare ASGI it is {{}} {TIMES} p50.",
        [tail(OURS, "get", 2), tail("floor", "get", 2)],
    )
    yield Quote(
        "README.md",
        "no request fails**: {} of {}. When it is back, the first one succeeds after {} s.",
        fault("restart, fast", rf"(0) {TIMES} 503 in ([\d,]+) requests; first success ([\d.]+) s"),
    )
    yield Quote("README.md", "| a get, 100 connections, {} | CPU | p50 | p99 |", [results().date])
    for name, row, bold in (
        ("bare ASGI and asyncpg", "floor", ""),
        ("**this service**", OURS, "**"),
        ("FastAPI and SQLModel as in most tutorials", "tutorial", ""),
        ("Fastify in Node, with the duties of this service", "fastify", ""),
    ):
        line = f"| {name} | {bold}{{}}{bold} | {bold}{{}}{bold} | {bold}{{}}{bold} |"
        yield Quote("README.md", line, [cpu(row, "get"), tail(row, "get", 0), tail(row, "get", 1)])
    assert growth("get") == growth("first page of 50")
    yield Quote(
        "README.md", "A get and a page cost the same on 10,000,000 rows as on 10,000 ({} times).", [growth("get")]
    )


def of_capacity() -> Iterator[Quote]:
    page = "docs/capacity.md"
    yield Quote(
        page,
        "on {} took less: {}, {}, {} and {} µs of the service's CPU, {}, {}, {} and {} µs of PostgreSQL's.",
        [results().date, *micros(OURS), *micros(f"{OURS}: PostgreSQL's")],
    )
    yield Quote(
        page,
        "{} MiB for gunicorn and one worker, {} MiB for each further one",
        [cell("Memory", row, "MiB") for row in ("gunicorn and the first worker", "a further worker")],
    )
    yield Quote(
        page,
        "takes {} times as long from the operating system's cache",
        [growth("first page of 50, its rows not in PostgreSQL's cache")],
    )


def of_other_pages() -> Iterator[Quote]:
    sign_in = [cell("Sign-in", "on", operation, 1) for operation in OPERATIONS]
    percent = [f"{round(float(value) * 100) - 100}" for value in least_and_most(sign_in)]
    yield Quote("docs/sign-in.md", "a request costs {} to {} % more than without sign-in", percent)
    yield Quote("docs/replace-a-part.md", "costs {} times bare ASGI", [cpu(OURS, "get")])
    yield Quote("docs/is-this-for-me.md", "this service takes {} to {} times its CPU", verdicts("to Fastify's"))


def verdicts(what: str) -> list[str]:
    """The smallest and the largest value of these targets."""
    text = (ROOT / "loadtests/benchmark/RESULTS.md").read_text()
    return least_and_most(re.findall(rf"^- Target \d+, .*{what}: ([\d.]+) of", text, re.MULTILINE))


def of_benchmark() -> Iterator[Quote]:
    page = "loadtests/benchmark/README.md"
    crowd = [
        cell("1,000 connections at once", "with `DATABASE_QUEUE_SECONDS=1`", operation, 2) for operation in OPERATIONS
    ]
    yield Quote(page, f"and p99 was {{}} to {{}} {TIMES} p50.", least_and_most(crowd))
    signed = [cell("Sign-in", "on", operation, 1) for operation in OPERATIONS]
    yield Quote(page, "| CPU with sign-in to that without | {} | {} | {} | {} |", signed)
    for name, row in (
        ("get with If-None-Match, answered 304", "get, 304"),
        ("toggle with If-Match", "toggle with If-Match"),
        ("create with an Idempotency-Key: one statement", "create with a key"),
    ):
        _, _, service, _, postgres, _ = results().row("Conditions and keys", row)
        yield Quote(page, f"| {name} | {{}} | {{}} |", [service, postgres])
    yield Quote(
        page,
        "| a request's line in the log has the client, the user agent and the bytes (RESULTS.md) | {} | {} | {} | {} |",
        [instructions(operation) for operation in OPERATIONS],
    )
    yield Quote(
        page,
        "| the line of the log has more, as below (RESULTS.md) | {} = {} | {} = {} | |",
        [
            instructions("create with a key"),
            f"{_instructions('create with a key') / _instructions('create'):.2f}",
            instructions("its retry"),
            f"{_instructions('its retry') / _instructions('create'):.2f}",
        ],
    )
    yield Quote(page, "takes {} times as long", [growth("first page of 50, its rows not in PostgreSQL's cache")])
    yield Quote(
        page,
        "RESULTS.md has what it takes now: {} times.",
        [cell("Start", "exec to the first 200 of /health/live", "ratio")],
    )


def _instructions(column: str) -> float:
    return results().number("Instructions per request", OURS, column)


QUOTES = [*of_readme(), *of_capacity(), *of_other_pages(), *of_benchmark()]


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: f"{quote.page}: {quote.sentence[:40]}")
def test_a_page_quotes_its_source(quote: Quote) -> None:
    assert quote.expected in page_text(quote.page), f"{quote.page} should say: {quote.expected}"


def test_the_readme_has_no_figure_of_its_own() -> None:
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    for quote in QUOTES:
        text = text.replace(quote.expected, "")
    assert _MEASURED.findall(text) == []


def _mix(costs: Sequence[int]) -> int:
    """The mean cost of get, list, create and toggle, weighted by their shares in the load test `crud`."""
    return round(sum(share * cost for share, cost in zip((0.34, 0.35, 0.10, 0.21), costs[:4], strict=True)))


@pytest.mark.parametrize(
    "page", ["docs/capacity.md", "docs/scaling.md", "backend/groundwork/docs/beyond-one-database.md"]
)
def test_plans_follow_from_the_costs_of_a_request(page: str) -> None:
    """docs/capacity.md has the costs. The requests that a core can serve follow from them, rounded to hundreds."""
    service, database = [
        [int(value) for value in re.findall(r"\d+(?= µs|,)", line.split("|")[2])]
        for line in (ROOT / "docs/capacity.md").read_text().splitlines()
        if re.match(r"\| (service's|PostgreSQL's) CPU per request", line)
    ]
    assert [_mix(service), _mix(database)] == [service[-1], database[-1]]
    full, busy = (f"{round(seconds * 1e6 / service[-1], -2):,.0f}" for seconds in (1, 0.6))
    core = f"{round(0.6e6 / database[-1], -2):,.0f}"
    expected = {
        "docs/capacity.md": f"2 / {service[-1]} µs = {round(2e6 / service[-1], -2):,.0f} requests/s",
        "docs/scaling.md": f"{busy} requests/s for each worker at 60 %, {full} at most",
        "backend/groundwork/docs/beyond-one-database.md": f"database core bears {core} requests/s",
    }
    assert expected[page] in page_text(page)
    assert f"{core} requests/s for each core at 60 %" in page_text("docs/scaling.md")


@pytest.mark.parametrize(("name", "draw"), [("cpu.svg", drawings.cpu), ("tail.svg", drawings.tail)])
def test_the_plots_show_the_last_results(name: str, draw: type[str]) -> None:
    assert (ROOT / "docs" / "pictures" / name).read_text() == draw(results()), "make pictures draws them again"


def test_pictures_stay_small() -> None:
    assert sum(file.stat().st_size for file in (ROOT / "docs" / "pictures").iterdir()) < 300_000


def test_figures_are_read_as_they_are_written() -> None:
    text = (
        "Written by `make benchmark` (5 rounds of 1 s, 10,000 rows) on 8 May 2026. 2 cores.\n\n## Some\n\nNotes.\n\n"
        "| a | get |\n| --- | ---: |\n| floor | 1,054 = 1.19 |\n| this service | 2.4 ms, 55.7 ms, 22.56 |\n"
    )
    read = Results(text)
    assert read.date == "8 May 2026"
    assert read.cell("Some", "floor", "get") == ["1,054", "1.19"]
    assert read.number("Some", "floor", "get") == 1054
    assert read.cell("Some", "this service", "get") == ["2.4 ms", "55.7 ms", "22.56"]
    with pytest.raises(KeyError, match="list"):
        read.cell("Some", "floor", "list")
