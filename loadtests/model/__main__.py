"""`python -m loadtests.model --users 100 --workers 2 --pool-size 1 5 10`: the model's predictions, one line each.

The options are those of `Deployment`. README.md says where the figures come from, and what the model can answer.
"""

import argparse
import sys
from dataclasses import replace
from itertools import product

from loadtests.model.service import Deployment, Prediction, Simulation

_HEAD = ("workers", "pool", "requests/s", "p50 ms", "p95 ms", "p99 ms", "worker", "database", "connections")


def predict(deployment: Deployment, *, requests: int = 20_000) -> Prediction:
    """The prediction. In the warm-up, every user sends one or two requests."""
    warm_up = max(requests // 5, 2 * deployment.users)
    return Simulation(deployment).run(requests=requests, warm_up=warm_up)


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    deployment = Deployment(
        users=options.users,
        think_seconds=options.think,
        rate=options.rate,
        busiest=options.busiest,
        database_cores=options.database_cores,
        round_trip_seconds=options.round_trip_ms / 1000,
    )
    print(_row(*_HEAD))
    for workers, pool_size in product(options.workers, options.pool_size):
        found = predict(replace(deployment, workers=workers, pool_size=pool_size), requests=options.requests)
        milliseconds = [
            f"{seconds * 1000:.2f}" for seconds in (found.p50_seconds, found.p95_seconds, found.p99_seconds)
        ]
        uses = [f"{use:.0%}" for use in (found.worker_use, found.database_use)]
        print(_row(workers, pool_size, f"{found.throughput:.0f}", *milliseconds, *uses, f"{found.connections:.1f}"))


def _row(*cells: object) -> str:
    return "".join(f"{cell!s:>12}" for cell in cells)


def _parser() -> argparse.ArgumentParser:
    default = Deployment()
    parser = argparse.ArgumentParser("python -m loadtests.model", description="Predict latency and throughput.")
    parser.add_argument("--users", type=int, default=default.users, help="who wait for their answers (%(default)s)")
    parser.add_argument("--think", type=float, default=default.think_seconds, help="mean pause, s (%(default)s)")
    parser.add_argument("--rate", type=float, default=0, help="requests/s that wait for no answer, instead of users")
    parser.add_argument("--workers", type=int, nargs="+", default=[default.workers], help="of all replicas together")
    parser.add_argument(
        "--busiest", type=float, default=1, help="users of the busiest worker, as a multiple of the mean (%(default)s)"
    )
    parser.add_argument("--pool-size", type=int, nargs="+", default=[default.pool_size], help="per worker")
    parser.add_argument("--database-cores", type=int, default=default.database_cores, help="(%(default)s)")
    parser.add_argument("--round-trip-ms", type=float, default=1.0, help="to the database and back (%(default)s)")
    parser.add_argument("--requests", type=int, default=20_000, help="to simulate (%(default)s)")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
