"""The service as queues: users → a worker's event loop → its pool of connections → the database's cores → and back.

The model has the CPU time of each operation, in the worker before and after its statement and in PostgreSQL; the
network's round trip; a worker that does one thing at a time; and a connection that is held until the worker has read
the answer. It leaves out locks, a cold cache, the disk, garbage collection, other work on the machine, and refusals
because of overload.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from loadtests.benchmark.figures import percentile
from loadtests.model.simulation import Clock, Slots, Station


@dataclass(frozen=True)
class Cost:
    """The CPU time of one request, in seconds."""

    weight: float
    """Its share of all requests."""
    worker: float
    database: float


# docs/capacity.md, "What was measured", and the mix of the scenario `crud`.
MIX = (
    Cost(0.34, 200e-6, 72e-6),  # get
    Cost(0.35, 294e-6, 83e-6),  # list of 20
    Cost(0.10, 221e-6, 104e-6),  # create
    Cost(0.21, 208e-6, 122e-6),  # toggle
)


@dataclass(frozen=True)
class Deployment:
    """The users, and the size of the service that serves them."""

    users: int = 100
    think_seconds: float = 0.5
    """The mean pause of a user between an answer and the next request. Pauses are exponentially distributed."""
    rate: float = 0
    """Requests per second that do not wait for answers. If it is set, there are no users."""
    workers: int = 2
    """The workers of all replicas together. Each has a core of its own, unless `shared_cores` is set."""
    busiest: float = 1
    """The users of the busiest worker, as a multiple of the average. All other workers have equally many."""
    pool_size: int = 10
    """The connections of each worker."""
    database_cores: float = 2
    round_trip_seconds: float = 0.001
    """The round trip between the service and the database."""
    shared_cores: int = 0
    """The number of cores that workers, database and load generator share. 0 means that each has its own."""
    client_seconds: float = 0
    """The load generator's CPU time per request, if it shares the cores."""
    mix: Sequence[Cost] = field(default=MIX)
    spread: float = 0.3
    """How much the CPU time of one operation varies: the standard deviation divided by the mean."""


@dataclass(frozen=True)
class Prediction:
    throughput: float
    """Answers per second."""
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    worker_use: float
    """The share of the time in which a worker is busy, on average."""
    database_use: float
    connections: float
    """The connections of all pools that are busy at once, on average."""


# The share of a worker's time for a request that it spends before it sends the statement.
BEFORE = 0.5


class Simulation:
    def __init__(self, deployment: Deployment, *, seed: int = 7) -> None:
        self._of = deployment
        self._random = random.Random(seed)
        self._clock = clock = Clock()
        shared = Station(clock, deployment.shared_cores) if deployment.shared_cores else None
        self._client = Station(clock, 1, shared)
        self._workers = [Station(clock, 1, shared) for _ in range(deployment.workers)]
        self._pools = [Slots(clock, deployment.pool_size) for _ in range(deployment.workers)]
        self._database = Station(clock, math.inf, shared) if shared else Station(clock, deployment.database_cores)
        self._weights = list(accumulate(cost.weight for cost in deployment.mix))
        self._latencies: list[float] = []
        self._arrivals = 0

    def run(self, *, requests: int, warm_up: int) -> Prediction:
        """Run until `requests` requests have been answered after the first `warm_up` ones."""
        if self._of.rate:
            self._arrive()
        for user in range(0 if self._of.rate else self._of.users):
            self._clock.after(self._think(), partial(self._ask, user))
        self._clock.run_while(lambda: len(self._latencies) < warm_up)
        began = self._clock.now
        self._clock.run_while(lambda: len(self._latencies) < warm_up + requests)
        ordered = sorted(self._latencies[warm_up:])
        return Prediction(
            throughput=len(ordered) / (self._clock.now - began),
            p50_seconds=percentile(ordered, 50),
            p95_seconds=percentile(ordered, 95),
            p99_seconds=percentile(ordered, 99),
            worker_use=sum(each.mean_held() for each in self._workers) / len(self._workers),
            database_use=self._database.mean_held() / (self._of.shared_cores or self._of.database_cores),
            connections=sum(each.mean_held() for each in self._pools),
        )

    def _arrive(self) -> None:
        """Start one request of a stream that does not wait for answers (a Poisson process)."""
        self._ask(self._arrivals)
        self._arrivals += 1
        self._clock.after(self._random.expovariate(self._of.rate), self._arrive)

    def _think(self) -> float:
        return self._random.expovariate(1 / self._of.think_seconds) if self._of.think_seconds else 0.0

    def _ask(self, user: int) -> None:
        """One request, step by step; each step calls the next when it is done."""
        began = self._clock.now
        [cost] = self._random.choices(self._of.mix, cum_weights=self._weights)
        place = self._place(user)
        worker, pool = self._workers[place], self._pools[place]
        in_worker = cost.worker * self._spread()
        in_database = cost.database * self._spread()
        one_way = self._of.round_trip_seconds / 2

        def send() -> None:
            self._clock.after(one_way, partial(self._database.serve, in_database, come_back))

        def come_back() -> None:
            self._clock.after(one_way, partial(worker.serve, in_worker * (1 - BEFORE), finish))

        def finish() -> None:
            pool.release()
            self._client.serve(self._of.client_seconds, answered)

        def answered() -> None:
            self._latencies.append(self._clock.now - began)
            if not self._of.rate:
                self._clock.after(self._think(), partial(self._ask, user))

        worker.serve(in_worker * BEFORE, partial(pool.acquire, send))

    def _place(self, user: int) -> int:
        """The worker that holds the user's connection. The first worker is the busiest."""
        if self._of.workers == 1 or self._of.busiest == 1:
            return user % self._of.workers
        share = self._of.busiest / self._of.workers
        return 0 if int((user + 1) * share) > int(user * share) else 1 + user % (self._of.workers - 1)

    def _spread(self) -> float:
        if not self._of.spread:
            return 1.0
        shape = self._of.spread**-2
        return self._random.gammavariate(shape, 1 / shape)
