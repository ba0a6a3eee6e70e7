"""What pages quote of the tests of faults, whose RESULTS.md `make test-faults` writes, and of other pages.

A figure that was measured by hand stands in one page, with its date. The other pages quote that one.
"""

import re
from collections.abc import Iterator

from groundwork.tests.faults import measured
from groundwork.tests.load.quotes import Quote, found
from loadtests.model.service import MIX

CONNECTIONS = "backend/groundwork/docs/connections.md"
PARTITIONING = "backend/groundwork/docs/partitioning.md"
ROW_LEVEL_SECURITY = "backend/groundwork/docs/row-level-security.md"
MODEL = "loadtests/model/README.md"
CAPACITY = "docs/capacity.md"
SCALING = "docs/scaling.md"
RATIO = r"(\d\.\d+)"


def fault(test: str, pattern: str) -> list[str]:
    """The figures of one test of faults."""
    said = measured.rows(measured.RESULTS.read_text())[test].figures
    found = re.search(pattern, said)
    assert found, f"{test}: {said} does not fit {pattern}"
    return list(found.groups())


def of_faults() -> Iterator[Quote]:
    yield Quote(
        "README.md",
        "no request fails**: 0 of {}. When it is back, the first one succeeds after {} s.",
        fault("test_restart[fast]", r"\b([\d,]+) requests, none failed, .*first success ([\d.]+) s"),
    )
    waits = [fault(f"test_sleeping_compute[{how}]", r"answered after ([\d.]+) s")[0] for how in ("holds", "refuses")]
    yield Quote(
        "docs/neon.md", "all of the first 20 were answered after {} s.", [f"{max(float(wait) for wait in waits):.1f}"]
    )
    jobs, kills, repeated = fault(
        "test_nothing_is_lost_while_workers_are_killed_and_the_database_restarts",
        r"\b([\d,]+) jobs, (\d+) kills, (\d+) done again",
    )
    yield Quote(
        "backend/groundwork/docs/jobs.md",
        "Two workers were killed {} times in 30 s, and the database once: of {} jobs none was lost, and {} were done"
        " again.",
        [kills, jobs, repeated],
    )


def of_the_model() -> Iterator[Quote]:
    near, far = found(CONNECTIONS, r"\| 10, the default \| [^|]+ \| ([\d,]+)/s \| ([\d,]+)/s \|")
    yield Quote(
        SCALING,
        "With 5 ms to the database a pool of 10 passes {} requests/s on two workers, with 20 ms it passes {}"
        " (predicted)",
        [near, far],
    )
    busy, most = found(MODEL, r"\| 16 \| 9 \| ([\d,]+) \| [^|]+ \| ([\d,]+) \|")
    yield Quote(MODEL, "60 % busy at {} requests/s, and give {} requests/s at most.", [busy, most])
    yield Quote(SCALING, "16 workers on 16 cores give {} requests/s at 60 % and {} at most.", [busy, most])
    slow, sudden = found(MODEL, rf"\| 16 \| 200 \| {RATIO} \| {RATIO} \|")
    two_slow, two_sudden = found(MODEL, rf"\| 2 \| 200 \| {RATIO} \| {RATIO} \|")
    yield Quote(
        SCALING,
        "of 200, the fullest of 16 held {} to {} times the average, and the fuller of two {} to {} times.",
        [slow, sudden, *sorted([two_slow, two_sudden])],
    )
    worker, database = ([f"{getattr(cost, part) * 1e6:.0f}" for cost in MIX] for part in ("worker", "database"))
    yield Quote(CAPACITY, "get {} µs, list of 20 {} µs, create {} µs, toggle {} µs;", worker)
    yield Quote(CAPACITY, "`cpu_d` | {}, {}, {}, {} µs;", database)


def of_connections() -> Iterator[Quote]:
    latency = found(CONNECTIONS, rf"{RATIO} to {RATIO} times the latency of a direct connection")
    cpu = found(CONNECTIONS, rf"direct connection and {RATIO} to {RATIO} times PostgreSQL's CPU")
    untracked = found(CONNECTIONS, rf"{RATIO} to {RATIO} times PostgreSQL's CPU, {RATIO} to {RATIO} times the latency")
    least, most = untracked[:2]
    yield Quote(
        SCALING,
        "since 1.21 costs {} to {} times the latency and {} to {} times PostgreSQL's CPU; an older one, or one with"
        " `max_prepared_statements = 0`, {} to {} times and {} to {} times.",
        [*latency, *cpu, *untracked[2:], least, most],
    )
    yield Quote(SCALING, "an old pooler takes up to {} times the database's CPU", [most])
    yield Quote(
        CAPACITY,
        "{} to {} times, or up to {} times where it does not track prepared statements",
        [*cpu, most],
    )
    yield Quote(
        "deploy/supabase/README.md",
        "An operation then takes two round trips instead of one, and costs PostgreSQL {} to {} times the CPU",
        [least, most],
    )
    memory = found(CONNECTIONS, rf"each connection takes {RATIO} MiB of PostgreSQL's memory")
    yield Quote(SCALING, "and {} MiB of PostgreSQL's memory for each connection.", memory)
    yield Quote(SCALING, "500 connections are {} GiB.", [f"{500 * float(memory[0]) / 1024:.1f}"])
    way, far, refused, refused_far = found(
        "loadtests/benchmark/README.md",
        rf"With 20 ms each way it was {RATIO}, (\d\.\d to \d\.\d), {RATIO} and {RATIO}\.",
    )
    assert float(refused) < float(refused_far)
    yield Quote(
        CONNECTIONS,
        "With 20 ms each way, a request took {}, {} and {} times the way there and back (medians of seven).",
        [way, way, far],
    )


def of_other_pages() -> Iterator[Quote]:
    hold = found(CAPACITY, r"`hold` \| \*\*(\d\.\d) ms\*\* in the mix")
    for page, sentence in (
        (CONNECTIONS, "the round trip, plus about {} ms."),
        (SCALING, "a connection is busy for the round trip and about {} ms."),
        (SCALING, "requests/s of a worker × (round trip + {} ms) × 1.5"),  # noqa: RUF001 - as in the page
        ("docs/replace-a-part.md", "A get is one look-up by primary key, {} ms of a connection"),
    ):
        yield Quote(page, sentence, hold)
    costs = found(CAPACITY, r"in `crud`'s mix \*\*(\d+) µs\*\*")
    yield Quote("deploy/README.md", "12 requests/s take {} % of one core.", [f"{12 * float(costs[0]) / 1e4:.1f}"])
    ratio = rf" \d+ = {RATIO} \|"
    ratios = found(PARTITIONING, rf"\| 16 partitions \|{ratio * 5}")
    yield Quote(SCALING, "{} to {} times PostgreSQL's CPU with 16 partitions", [min(ratios), max(ratios)])
    row_level = found(
        ROW_LEVEL_SECURITY,
        rf"four round trips \| {RATIO}, {RATIO}, {RATIO} \| {RATIO}, {RATIO}, {RATIO} \|",
    )
    words = {2: "two", 3: "three"}
    bounds = [words[round(value)] for value in (min(map(float, row_level)), max(map(float, row_level)))]
    yield Quote("ARCHITECTURE.md", "row-level security, which costs {} to {} times the statement", bounds)
    yield Quote(ROW_LEVEL_SECURITY, "The way that PostgreSQL promises costs {} to {} times the", bounds)


GROUPS = (of_faults, of_the_model, of_connections, of_other_pages)
