"""Targets 1, 2 and 7: CPU per request against the floor and Fastify, and the tail, from one load on one worker."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

from loadtests.benchmark import peer
from loadtests.benchmark.client import Outcome
from loadtests.benchmark.database import Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, microseconds, milliseconds, times
from loadtests.benchmark.same import require_same_answers
from loadtests.benchmark.servers import FASTIFY, FLOOR, OURS, TUTORIAL, Service, Variant, running

CONNECTIONS = 100
WARM_UP_SECONDS = 1
CPU_LIMIT = 1.5
CPU_AIM = 1.2
PEER_LIMIT = 1.0
TAIL_LIMIT = 2.0

Outcomes = Mapping[tuple[str, str], Sequence[Outcome]]
"""The outcomes by variant and operation, one for each round."""


def measure(server: Server, template: str, *, rounds: int, seconds: float) -> list[Section]:
    """Measure variants and operations in turns. Each round starts every service anew, on a copy of the same rows."""
    variants, peer_note = _variants()
    outcomes: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    with ExitStack() as databases:
        of_variant = {
            variant: databases.enter_context(server.database(variant.name.replace(" ", "_"), copy_of=template))
            for variant in variants
        }
        requests = requests_of_each_operation(of_variant[FLOOR])
        for round_ in range(rounds):
            with ExitStack() as services:
                started = {
                    variant: services.enter_context(running(variant, database.url))
                    for variant, database in of_variant.items()
                }
                if round_ == 0:  # later, the databases have different rows
                    require_same_answers({variant.name: service for variant, service in started.items()}, requests)
                for variant, service in started.items():
                    _warm_up(variant, service, requests["get"])
                for operation in OPERATIONS:
                    for variant, service in started.items():
                        say(f"CPU and tail, round {round_ + 1} of {rounds}: {operation}, {variant.name}")
                        outcome = send(
                            service,
                            requests[operation],
                            connections=CONNECTIONS,
                            seconds=seconds,
                            warm_up_seconds=WARM_UP_SECONDS,
                            database_pid=server.process_id,
                        )
                        outcomes[variant.name, operation].append(outcome)
            for database in of_variant.values():
                database.tidy()
    return [cpu_section(outcomes, variants, peer_note), tail_section(outcomes, variants)]


def _variants() -> tuple[Sequence[Variant], str]:
    """The services that are measured, and a sentence about the peer."""
    if reason := peer.reason_without():
        note = f"Fastify is not measured: {reason}"
        say(note)
        return (FLOOR, OURS, TUTORIAL), note
    return (FLOOR, OURS, FASTIFY, TUTORIAL), f"Fastify runs in one process ({peer.describe()})."


def _warm_up(variant: Variant, service: Service, requests: Sequence[bytes]) -> None:
    if variant.warm_up_seconds:
        send(service, requests, connections=CONNECTIONS, seconds=0, warm_up_seconds=variant.warm_up_seconds)


def cpu_section(outcomes: Outcomes, variants: Sequence[Variant], peer_note: str) -> Section:
    cost = {
        key: median([each.server_cpu_seconds / max(1, each.answers) for each in of]) for key, of in outcomes.items()
    }
    database = {
        key: median([each.database_cpu_seconds / max(1, each.answers) for each in of]) for key, of in outcomes.items()
    }
    rows = [["CPU per request", *OPERATIONS], *_rows(cost, variants, ""), *_rows(database, variants, ": PostgreSQL's")]
    busiest = max(each.client_cpu_seconds / each.seconds for of in outcomes.values() for each in of)
    return Section(
        "CPU per request",
        f"User and system time of the whole process tree, one worker on one core, {CONNECTIONS} keep-alive connections,"
        " closed loop, pool of 10; medians of the rounds, and the ratio to the floor. PostgreSQL's is that of all its"
        f" processes, where they run on this machine. The load generator used {busiest:.0%} of its core at most."
        f" {peer_note}",
        rows,
        [
            Verdict(1, f"CPU of {operation} to the floor's", ours / floor, CPU_LIMIT, aim=CPU_AIM)
            for operation in OPERATIONS
            for ours, floor in [(cost[OURS.name, operation], cost[FLOOR.name, operation])]
        ]
        + [
            Verdict(7, f"CPU of {operation} to Fastify's", ours / cost[FASTIFY.name, operation], PEER_LIMIT)
            for operation in OPERATIONS
            if FASTIFY in variants
            for ours in [cost[OURS.name, operation]]
        ],
    )


def _rows(cost: Mapping[tuple[str, str], float], variants: Sequence[Variant], of: str) -> list[list[str]]:
    return [
        [
            f"{variant.name}{of}",
            *(
                f"{microseconds(cost[variant.name, operation])}"
                f" = {times(ratio(cost[variant.name, operation], cost[FLOOR.name, operation]))}"
                for operation in OPERATIONS
            ),
        ]
        for variant in variants
    ]


def tail_section(outcomes: Outcomes, variants: Sequence[Variant]) -> Section:
    rows = [["p50, p99, p99/p50", *OPERATIONS, "errors"]]
    for variant in variants:
        of_variant = [outcomes[variant.name, operation] for operation in OPERATIONS]
        rows.append([variant.name, *map(spread, of_variant), describe_errors(of_variant)])
    ours = {operation: outcomes[OURS.name, operation] for operation in OPERATIONS}
    return Section(
        f"The tail at {CONNECTIONS} connections",
        f"Latency under the same load: the core is always busy, so each of {CONNECTIONS} clients waits for a hundred"
        " requests on average. This service serves them in their order, and all wait about as long. The floor serves"
        " some again and again while others wait, so its p50 is lower and its p99 higher. Medians of the rounds.",
        rows,
        [
            *(Verdict(2, f"p99/p50 of {operation}", tail_ratio(of), TAIL_LIMIT) for operation, of in ours.items()),
            Verdict(2, "errors", all_errors(ours.values()).total(), 0),
        ],
    )


def spread(outcomes: Sequence[Outcome]) -> str:
    p50 = median([each.p50_seconds for each in outcomes])
    p99 = median([each.p99_seconds for each in outcomes])
    return f"{milliseconds(p50)}, {milliseconds(p99)}, {times(tail_ratio(outcomes))}"


def tail_ratio(outcomes: Sequence[Outcome]) -> float:
    return median([ratio(each.p99_seconds, each.p50_seconds) for each in outcomes])


def all_errors(outcomes: Iterable[Sequence[Outcome]]) -> Counter[str]:
    """The number of errors by kind."""
    total: Counter[str] = Counter()
    for of in outcomes:
        for each in of:
            total.update(each.errors)
    return total


def describe_errors(outcomes: Iterable[Sequence[Outcome]]) -> str:
    return ", ".join(f"{count} of {kind}" for kind, count in sorted(all_errors(outcomes).items())) or "none"
