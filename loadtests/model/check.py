"""`python -m loadtests.model.check` compares the model's predictions with measurements on this machine.

The model gets the CPU time that a request took in the same run. So the check is about the queues, and not about how
busy the machine was. The CPU that other programs used is printed; a line where it is large says nothing. A run with
one user shows how long a request waits while no CPU works. Worker, PostgreSQL and load generator share the machine's
cores, and no process is pinned. The model includes that.
"""

import argparse
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from loadtests.benchmark import cores
from loadtests.benchmark.client import Outcome
from loadtests.benchmark.database import SMALL_ROWS, Database, Server, running_server
from loadtests.benchmark.figures import median
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.processes import tree
from loadtests.benchmark.progress import say
from loadtests.benchmark.servers import OURS, Service, running
from loadtests.model.__main__ import predict
from loadtests.model.service import MIX, Cost, Deployment, Prediction

WORKERS = (1, 2)
POOL_SIZES = (1, 2, 5, 10)
USERS = 100
THINK_SECONDS = (0.1, 0.04, 0.0)  # light load, heavy load for one worker, full load
REQUESTS = 10_000
_WARM_UP_SECONDS = 0.5
_SEVERAL = 2000


class Load(NamedTuple):
    workers: int
    pool_size: int
    users: int
    think_seconds: float


ALONE = Load(1, 10, 1, 0)


@dataclass(frozen=True)
class Measured:
    """The medians of all rounds."""

    throughput: float
    p50_seconds: float
    p95_seconds: float
    worker: float
    database: float
    client: float
    """The load generator's CPU seconds per request."""
    others: float
    """How many cores other programs used."""
    errors: int


def summary(outcomes: list[Outcome]) -> Measured:
    def each_request(seconds: Callable[[Outcome], float]) -> float:
        return median([seconds(each) / max(1, each.answers) for each in outcomes])

    return Measured(
        throughput=median([each.answers / each.seconds for each in outcomes]),
        p50_seconds=median([each.p50_seconds for each in outcomes]),
        p95_seconds=median([each.p95_seconds for each in outcomes]),
        worker=each_request(lambda outcome: outcome.server_cpu_seconds),
        database=each_request(lambda outcome: outcome.database_cpu_seconds),
        client=each_request(lambda outcome: outcome.client_cpu_seconds),
        others=median([_others(each) for each in outcomes]),
        errors=sum(sum(each.errors.values()) for each in outcomes),
    )


def _others(outcome: Outcome) -> float:
    ours = outcome.server_cpu_seconds + outcome.database_cpu_seconds + outcome.client_cpu_seconds
    return max(0.0, outcome.machine_cpu_seconds - ours) / outcome.seconds


class Bench:
    """The service on this machine, which gets the requests of the mix."""

    def __init__(self, server: Server, database: Database, *, seconds: float) -> None:
        self._server = server
        self._database = database
        self._seconds = seconds
        of_each = requests_of_each_operation(database)
        chosen = random.Random(7).choices(OPERATIONS, [cost.weight for cost in MIX], k=_SEVERAL)
        self._requests = [of_each[name][number % len(of_each[name])] for number, name in enumerate(chosen)]

    @contextmanager
    def service(self, *, workers: int, pool_size: int) -> Iterator[Service]:
        settings = {"DATABASE_POOL_SIZE": str(pool_size)}
        with running(OURS, self._database.url, workers=workers, settings=settings) as service:
            for pid in tree(service.pid):
                os.sched_setaffinity(pid, cores.ALL)
            yield replace(service, cores=cores.ALL)
        self._database.tidy()

    def measure(self, service: Service, *, users: int, think_seconds: float) -> Outcome:
        return send(
            service,
            self._requests,
            connections=users,
            seconds=self._seconds,
            warm_up_seconds=_WARM_UP_SECONDS,
            think_seconds=think_seconds,
            database_pid=self._server.process_id,
        )


def informed(deployment: Deployment, found: Measured) -> Deployment:
    """The deployment with the costs of this run."""
    mean_worker = sum(cost.weight * cost.worker for cost in MIX)
    mean_database = sum(cost.weight * cost.database for cost in MIX)
    # The costs of the operations keep the ratios that are documented.
    mix = [
        Cost(cost.weight, cost.worker * found.worker / mean_worker, cost.database * found.database / mean_database)
        for cost in MIX
    ]
    return replace(deployment, shared_cores=len(cores.ALL), client_seconds=found.client, mix=mix)


def waiting_seconds(alone: Measured) -> float:
    """How long no CPU works during a request that no other request delays: the time for processes to wake up."""
    busy = informed(Deployment(users=1, workers=1, think_seconds=0, round_trip_seconds=0), alone)
    return max(0.0, alone.p50_seconds - predict(busy, requests=REQUESTS).p50_seconds)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m loadtests.model.check", description="The model against this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the medians count (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each load (1)")
    options = parser.parse_args(arguments)
    with running_server() as server, server.database("model") as database:
        database.migrate()
        database.fill(SMALL_ROWS)
        measured = measure_all(Bench(server, database, seconds=options.seconds), options.rounds)
    report(measured)


def report(measured: Mapping[Load, Measured]) -> None:
    waiting = waiting_seconds(measured[ALONE])
    print(f"without anyone using the CPU: {waiting * 1e6:.0f} µs of a request\n")
    print(
        "| workers | pool | users | pause | requests/s | p50 ms | p95 ms | worker's CPU µs | others' cores | errors |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for load, found in measured.items():
        deployment = informed(
            Deployment(
                users=load.users,
                think_seconds=load.think_seconds,
                workers=load.workers,
                pool_size=load.pool_size,
                round_trip_seconds=waiting,
            ),
            found,
        )
        print(row(load, predict(deployment, requests=REQUESTS), found))


def measure_all(bench: Bench, rounds: int) -> dict[Load, Measured]:
    outcomes: defaultdict[Load, list[Outcome]] = defaultdict(list)
    for round_, workers, pool_size in product(range(rounds), WORKERS, POOL_SIZES):
        say(f"round {round_ + 1} of {rounds}: {workers} workers, {pool_size} connections each")
        loads = [Load(workers, pool_size, USERS, think_seconds) for think_seconds in THINK_SECONDS]
        with bench.service(workers=workers, pool_size=pool_size) as service:
            for load in [ALONE, *loads] if (workers, pool_size) == ALONE[:2] else loads:
                outcomes[load].append(bench.measure(service, users=load.users, think_seconds=load.think_seconds))
    return {load: summary(of) for load, of in outcomes.items()}


def row(load: Load, predicted: Prediction, measured: Measured) -> str:
    cells = [
        str(load.workers),
        str(load.pool_size),
        str(load.users),
        f"{load.think_seconds * 1000:.0f} ms",
        f"{predicted.throughput:,.0f}, {measured.throughput:,.0f}",
        f"{predicted.p50_seconds * 1000:.1f}, {measured.p50_seconds * 1000:.1f}",
        f"{predicted.p95_seconds * 1000:.1f}, {measured.p95_seconds * 1000:.1f}",
        f"{measured.worker * 1e6:.0f}",
        f"{measured.others:.1f}",
        str(measured.errors),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
