"""Target 3: a thousand connections at once on two workers."""

import resource
from contextlib import ExitStack

from loadtests.benchmark.client import Outcome
from loadtests.benchmark.cost import all_errors, describe_errors, spread, tail_ratio
from loadtests.benchmark.database import Server
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, milliseconds
from loadtests.benchmark.servers import OURS, running

CONNECTIONS, WORKERS = 1000, 2
TAIL_LIMIT = 3.0
WARM_UP_SECONDS = 2
_FILES = CONNECTIONS + 500


def raise_file_limit() -> None:
    """Let this process and those that it starts open as many files as a thousand connections need.

    Raises:
        RuntimeError: the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        raise RuntimeError(f"{CONNECTIONS} connections need {_FILES} open files; the limit (`ulimit -Hn`) is {hard}")
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))


def measure(server: Server, template: str, *, rounds: int, seconds: float) -> list[Section]:
    raise_file_limit()
    outcomes: dict[str, list[Outcome]] = {operation: [] for operation in OPERATIONS}
    with server.database("crowd", copy_of=template) as database:
        requests = requests_of_each_operation(database)
        for round_ in range(rounds):
            with ExitStack() as services:
                service = services.enter_context(running(OURS, database.url, workers=WORKERS))
                for operation in OPERATIONS:
                    say(f"{CONNECTIONS} connections at once, round {round_ + 1} of {rounds}: {operation}")
                    outcome = send(
                        service,
                        requests[operation],
                        connections=CONNECTIONS,
                        seconds=seconds,
                        warm_up_seconds=WARM_UP_SECONDS,
                    )
                    outcomes[operation].append(outcome)
            database.tidy()
    return [section(outcomes)]


def section(outcomes: dict[str, list[Outcome]]) -> Section:
    slowest = max(each.slowest_connect_seconds for of in outcomes.values() for each in of)
    rows = [["p50, p99, p99/p50", *OPERATIONS, "errors"]]
    rows.append([OURS.name, *map(spread, outcomes.values()), describe_errors(outcomes.values())])
    return Section(
        f"{CONNECTIONS:,} connections at once",
        f"All opened at the same moment, closed loop, {WORKERS} workers, no core of their own; the slowest connection"
        f" was open after {milliseconds(slowest)}. Medians of the rounds.",
        rows,
        [
            *(Verdict(3, f"p99/p50 of {operation}", tail_ratio(of), TAIL_LIMIT) for operation, of in outcomes.items()),
            Verdict(3, "refused connections and errors", all_errors(outcomes.values()).total(), 0),
        ],
    )
