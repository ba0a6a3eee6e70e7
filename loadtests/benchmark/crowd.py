"""Target 3: a thousand connections at once on two workers.

Accepted requests are served in time, and the others are refused soon.
"""

import resource
from collections.abc import Mapping, Sequence

from loadtests.benchmark.client import Outcome
from loadtests.benchmark.cost import all_errors, describe_errors, spread, tail_ratio
from loadtests.benchmark.database import Server
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, milliseconds
from loadtests.benchmark.servers import OURS, running

CONNECTIONS, WORKERS = 1000, 2
TAIL_LIMIT = 3.0
ANSWERED_LIMIT_MS, REFUSED_LIMIT_MS = 500, 100
_REFUSED = "503"
WARM_UP_SECONDS = 2
_FILES = CONNECTIONS + 500
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    OURS.name: {},
    "with `DATABASE_QUEUE_SECONDS=1`": {"DATABASE_QUEUE_SECONDS": "1"},
}


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
    """Measure the service with its defaults and with a queue so long that no request is refused, in turns."""
    raise_file_limit()
    outcomes: dict[str, dict[str, list[Outcome]]] = {
        name: {operation: [] for operation in OPERATIONS} for name in _SETTINGS
    }
    with server.database("crowd", copy_of=template) as database:
        requests = requests_of_each_operation(database)
        for round_ in range(rounds):
            for name, settings in _SETTINGS.items():
                with running(OURS, database.url, workers=WORKERS, settings=settings) as service:
                    for operation in OPERATIONS:
                        say(f"{CONNECTIONS} connections at once, round {round_ + 1} of {rounds}: {operation}, {name}")
                        outcome = send(
                            service,
                            requests[operation],
                            connections=CONNECTIONS,
                            seconds=seconds,
                            warm_up_seconds=WARM_UP_SECONDS,
                        )
                        outcomes[name][operation].append(outcome)
                database.tidy()
    return [section(outcomes)]


def section(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> Section:
    every = [each for of in outcomes.values() for runs in of.values() for each in runs]
    slowest = max(each.slowest_connect_seconds for each in every)
    least = min(each.answers / each.seconds for each in every)
    return Section(
        f"{CONNECTIONS:,} connections at once",
        f"All opened at the same moment, closed loop, {WORKERS} workers, no core of their own; the slowest connection"
        f" was open after {milliseconds(slowest)}, the slowest run served {least:,.0f} requests/s. Medians of the"
        f" rounds. So many clients wait {CONNECTIONS:,} / (requests/s) each, whatever is done to the order. Where that"
        " is more than `DATABASE_QUEUE_SECONDS`, 0.2 if it is not set, the service refuses some so that the others are"
        " served in half a second.",
        [
            ["p50, p99, p99/p50", *OPERATIONS, "errors"],
            *([name, *map(spread, of.values()), describe_errors(of.values())] for name, of in outcomes.items()),
        ],
        [
            verdict
            for name, of in outcomes.items()
            for verdict in (
                *(Verdict(3, f"p99/p50 of {each}, {name}", tail_ratio(runs), TAIL_LIMIT) for each, runs in of.items()),
                *_promises(name, of),
            )
        ],
    )


def _promises(name: str, of: Mapping[str, Sequence[Outcome]]) -> list[Verdict]:
    """The promises that hold for any number of connections. The slowest run counts, for refusals as for answers."""
    runs = [each for runs in of.values() for each in runs]
    errors = all_errors(of.values())
    answered = max(each.p95_seconds for each in runs) * 1000
    refused = max(each.refused_p95_seconds for each in runs) * 1000
    return [
        Verdict(3, f"p95 of those who are served, {name}", answered, ANSWERED_LIMIT_MS, " ms"),
        Verdict(3, f"p95 of those who are refused, {name}", refused, REFUSED_LIMIT_MS, " ms"),
        Verdict(3, f"errors but {_REFUSED}, {name}", errors.total() - errors[_REFUSED], 0),
    ]
