"""`python -m loadtests.model.workers`: what several workers cost each other, and how connections fall on them.

Workers share the accept queue, the log's pipe and the memory that counts requests. What they do there for each other's
sake would be CPU, so the CPU of a request is measured with one worker and with two. How evenly connections fall on the
workers is counted.
"""

import argparse
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from loadtests.benchmark import cores
from loadtests.benchmark.crowd import raise_file_limit
from loadtests.benchmark.database import SMALL_ROWS, Database, running_server
from loadtests.benchmark.figures import median
from loadtests.benchmark.processes import tree
from loadtests.benchmark.progress import say
from loadtests.benchmark.servers import OURS, running
from loadtests.model.check import USERS, Bench, Measured, summary

WORKERS = (1, 2)
SPREAD_OVER = (2, 4, 8, 16)
CONNECTIONS = (100, 200, 1000)
POOL_SIZE = 3
THINK_SECONDS = 0.1
OWN_QUEUES = "--reuse-port"
_PAUSE_SECONDS = 0.002
_SETTLE_SECONDS = 0.4
_ESTABLISHED = "01"


class Spread(NamedTuple):
    workers: int
    connections: int
    queue: str
    arrival: str


def holders(pids: list[int], port: int) -> list[int]:
    """How many open connections to the port each process holds."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == _ESTABLISHED}
    return [sum(target in ours for target in _open_files(pid)) for pid in pids]


def _open_files(pid: int) -> Iterator[str]:
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(each.readlink())


def unevenness(held: list[int]) -> float:
    """How many times as many the fullest worker holds as the average one."""
    return max(held) * len(held) / sum(held)


@contextmanager
def connected(port: int, count: int, *, pause_seconds: float) -> Iterator[None]:
    """So many connections, opened without waiting for each other, or one after each pause."""
    opened = []
    try:
        for _ in range(count):
            client = socket.socket()
            opened.append(client)
            client.settimeout(0)
            client.connect_ex(("127.0.0.1", port))
            if pause_seconds:
                time.sleep(pause_seconds)
        time.sleep(_SETTLE_SECONDS)
        yield
    finally:
        for client in opened:
            client.close()
        time.sleep(_SETTLE_SECONDS)


def spreads(database: Database, rounds: int) -> dict[Spread, float]:
    found: defaultdict[Spread, list[float]] = defaultdict(list)
    for workers in SPREAD_OVER:
        for queue, options in (("one queue", ""), ("a queue each", OWN_QUEUES)):
            settings = {"DATABASE_POOL_SIZE": str(POOL_SIZE), **({"GUNICORN_CMD_ARGS": options} if options else {})}
            with running(OURS, database.url, workers=workers, settings=settings) as service:
                time.sleep(_SETTLE_SECONDS)
                pids = [pid for pid in tree(service.pid) if pid != service.pid]
                for count in CONNECTIONS:
                    say(f"{count} connections over {workers} workers, {queue}")
                    for arrival, pause in (("at once", 0.0), ("one by one", _PAUSE_SECONDS)):
                        for _ in range(rounds):
                            with connected(service.port, count, pause_seconds=pause):
                                held = holders(pids, service.port)
                            found[Spread(workers, count, queue, arrival)].append(unevenness(held))
    return {each: median(values) for each, values in found.items()}


def costs(bench: Bench, rounds: int) -> dict[int, Measured]:
    """What a request costs, by the number of workers, each with as many users.

    With fewer users, a worker finds fewer requests at once when it looks, and looks more often.
    """
    outcomes = defaultdict(list)
    for round_ in range(rounds):
        for workers in WORKERS:
            say(f"a request's cost, round {round_ + 1} of {rounds}: {workers} workers")
            with bench.service(workers=workers, pool_size=POOL_SIZE) as service:
                users = USERS * workers
                outcomes[workers].append(bench.measure(service, users=users, think_seconds=THINK_SECONDS))
    return {workers: summary(of) for workers, of in outcomes.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("python -m loadtests.model.workers", description="What workers share.")
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load for each cost (2)")
    options = parser.parse_args(arguments)
    raise_file_limit()
    with running_server() as server, server.database("workers") as database:
        database.migrate()
        database.fill(SMALL_ROWS)
        found = costs(Bench(server, database, seconds=options.seconds), options.rounds)
        spread = spreads(database, options.rounds)
    print(
        f"{len(cores.ALL)} cores\n\n| workers | requests/s | service's CPU µs | PostgreSQL's CPU µs | waits | errors |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    for workers, cost in found.items():
        cells = (f"{cost.throughput:,.0f}", f"{cost.worker * 1e6:.0f}", f"{cost.database * 1e6:.0f}")
        print(f"| {workers} | {' | '.join(cells)} | {cost.errors} |")
    kinds = list(dict.fromkeys((each.queue, each.arrival) for each in spread))
    print(
        "\n| workers | connections | "
        + " | ".join(map(", ".join, kinds))
        + " |\n| ---: | ---: |"
        + " ---: |" * len(kinds)
    )
    for workers in SPREAD_OVER:
        for count in CONNECTIONS:
            row = (f"{spread[Spread(workers, count, *kind)]:.1f}" for kind in kinds)
            print(f"| {workers} | {count:,} | {' | '.join(row)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
