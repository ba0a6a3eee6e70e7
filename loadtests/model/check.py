"""`python -m loadtests.model.check`: what the model predicts for this machine, beside what is measured on it.

Two measurements tell the model what a request costs here: a hundred users without a pause on one worker give the CPU,
one user alone the time that goes by without any. Everything else is predicted. Worker, PostgreSQL and load generator
share the machine's cores, nothing is pinned, and the model knows that.
"""

import argparse
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

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
THINK_SECONDS = (0.1, 0.04, 0.0)  # light, then heavy for one worker, then as much as there is
_WARM_UP_SECONDS = 0.5
_SEVERAL = 2000


@dataclass(frozen=True)
class Measured:
    """Medians of the rounds."""

    throughput: float
    p50_seconds: float
    p95_seconds: float
    worker: float
    database: float
    client: float
    """CPU seconds of a request."""
    errors: int


def summary(outcomes: list[Outcome]) -> Measured:
    return Measured(
        throughput=median([each.answers / each.seconds for each in outcomes]),
        p50_seconds=median([each.p50_seconds for each in outcomes]),
        p95_seconds=median([each.p95_seconds for each in outcomes]),
        worker=median([each.server_cpu_seconds / max(1, each.answers) for each in outcomes]),
        database=median([each.database_cpu_seconds / max(1, each.answers) for each in outcomes]),
        client=median([each.client_cpu_seconds / max(1, each.answers) for each in outcomes]),
        errors=sum(sum(each.errors.values()) for each in outcomes),
    )


class Bench:
    """The service of this machine, under the requests of the mix."""

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


def calibrate(bench: Bench, rounds: int) -> Deployment:
    """The model of this machine."""
    busy, alone = [], []
    for round_ in range(rounds):
        say(f"what a request costs, round {round_ + 1} of {rounds}")
        with bench.service(workers=1, pool_size=10) as service:
            busy.append(bench.measure(service, users=USERS, think_seconds=0))
            alone.append(bench.measure(service, users=1, think_seconds=0))
    cost = summary(busy)
    model = Deployment(
        shared_cores=len(cores.ALL),
        client_seconds=cost.client,
        mix=scaled(cost.worker, cost.database),
        think_seconds=0,
        round_trip_seconds=0,
    )
    computed = predict(replace(model, users=1, workers=1)).p50_seconds
    waiting = max(0.0, summary(alone).p50_seconds - computed)
    print(
        f"a request's CPU: worker {cost.worker * 1e6:.0f} µs, PostgreSQL {cost.database * 1e6:.0f} µs, load generator"
        f" {cost.client * 1e6:.0f} µs; without any: {waiting * 1e6:.0f} µs\n"
    )
    return replace(model, round_trip_seconds=waiting)


def scaled(worker: float, database: float) -> list[Cost]:
    """The mix, its operations as dear to each other as documented, with these means."""
    mean_worker = sum(cost.weight * cost.worker for cost in MIX)
    mean_database = sum(cost.weight * cost.database for cost in MIX)
    return [
        Cost(cost.weight, cost.worker * worker / mean_worker, cost.database * database / mean_database) for cost in MIX
    ]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m loadtests.model.check", description="The model against this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load (1)")
    options = parser.parse_args(arguments)
    with running_server() as server, server.database("model") as database:
        database.migrate()
        database.fill(SMALL_ROWS)
        bench = Bench(server, database, seconds=options.seconds)
        model = calibrate(bench, options.rounds)
        measured = measure_all(bench, options.rounds)
    print(
        "| workers | pool | think time | requests/s: predicted, measured | p50 ms: predicted, measured |"
        " p95 ms: predicted, measured | errors |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for (workers, pool_size, think_seconds), found in measured.items():
        deployment = replace(model, workers=workers, pool_size=pool_size, think_seconds=think_seconds)
        print(row(deployment, predict(deployment), found))


def measure_all(bench: Bench, rounds: int) -> dict[tuple[int, int, float], Measured]:
    outcomes: defaultdict[tuple[int, int, float], list[Outcome]] = defaultdict(list)
    for round_, workers, pool_size in product(range(rounds), WORKERS, POOL_SIZES):
        say(f"round {round_ + 1} of {rounds}: {workers} workers, {pool_size} connections each")
        with bench.service(workers=workers, pool_size=pool_size) as service:
            for think_seconds in THINK_SECONDS:
                outcome = bench.measure(service, users=USERS, think_seconds=think_seconds)
                outcomes[workers, pool_size, think_seconds].append(outcome)
    return {key: summary(of) for key, of in outcomes.items()}


def row(deployment: Deployment, predicted: Prediction, measured: Measured) -> str:
    cells = [
        str(deployment.workers),
        str(deployment.pool_size),
        f"{deployment.think_seconds * 1000:.0f} ms",
        f"{predicted.throughput:,.0f}, {measured.throughput:,.0f}",
        f"{predicted.p50_seconds * 1000:.1f}, {measured.p50_seconds * 1000:.1f}",
        f"{predicted.p95_seconds * 1000:.1f}, {measured.p95_seconds * 1000:.1f}",
        str(measured.errors),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
