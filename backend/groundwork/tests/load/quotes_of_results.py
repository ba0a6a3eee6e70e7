"""What pages quote of the benchmark's RESULTS.md, which `make benchmark` writes."""

import re
from collections.abc import Iterator, Sequence

from groundwork.tests.load.quotes import ROOT, Quote
from loadtests.benchmark import drawings
from loadtests.benchmark.results import results

OPERATIONS = drawings.OPERATIONS
OURS = "this service"
TIMES = "\N{MULTIPLICATION SIGN}"


def cell(section: str, row: str, column: str, part: int = 0) -> str:
    return results().cell(section, row, column)[part]


def cpu(row: str, operation: str) -> str:
    return cell("CPU per request", row, operation, 1)


def micros(row: str) -> list[str]:
    """A row of the table of CPU, in microseconds."""
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
    """The least and the most of the values of these targets."""
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
        "it is off while this is counted (RESULTS.md) | {} | {} | {} | {} |",
        [instructions(operation) for operation in OPERATIONS],
    )
    yield Quote(
        page,
        "| a request's objects are freed at once, as below (RESULTS.md) | {} = {} | {} = {} | |",
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


GROUPS = (of_readme, of_capacity, of_other_pages, of_benchmark)
