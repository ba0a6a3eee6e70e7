"""`python -m loadtests.model.workers`: what a second worker costs the first, and how connections spread over workers.

Workers share the accept queue, the log's pipe and the memory that counts requests. If they hindered each other there, a
request would take more CPU. So the CPU of a request is measured with one worker and with two.
"""

import socket
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from loadtests.benchmark.crowd import raise_file_limit
from loadtests.benchmark.database import SMALL_ROWS, Database, running_server
from loadtests.benchmark.figures import median
from loadtests.benchmark.processes import tree
from loadtests.benchmark.progress import say
from loadtests.benchmark.servers import OURS, running
from loadtests.model.check import USERS, Bench, summary

ROUNDS, SECONDS, THINK_SECONDS = 5, 2.0, 0.1
SPREAD_OVER, CONNECTIONS = (2, 4, 8, 16), (100, 200, 1000)
POOL = {"DATABASE_POOL_SIZE": "3"}
QUEUES = {"one queue": POOL, "a queue each": {**POOL, "GUNICORN_CMD_ARGS": "--reuse-port"}}
PAUSES = {"one by one": 0.002, "at once": 0.0}
_SETTLE_SECONDS = 0.4
_ESTABLISHED = "01"


def holders(pids: list[int], port: int) -> list[int]:
    """How many open connections to the port each process holds."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == _ESTABLISHED}
    return [sum(target in ours for target in _open_files(pid)) for pid in pids]


def _open_files(pid: int) -> Iterator[str]:
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the file has been closed since
            yield str(each.readlink())


def unevenness(held: list[int]) -> float:
    """The connections of the fullest worker, as a multiple of the average."""
    return max(held) * len(held) / sum(held)


@contextmanager
def connected(port: int, count: int, *, pause_seconds: float) -> Iterator[None]:
    """Hold `count` connections. They are opened one by one, with a pause between them."""
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(("127.0.0.1", port))
            time.sleep(pause_seconds)
        time.sleep(_SETTLE_SECONDS)
        yield
    time.sleep(_SETTLE_SECONDS)


def report_costs(bench: Bench) -> None:
    """Measure with the same number of users for each worker. With fewer, a worker finds fewer requests at a time."""
    outcomes = defaultdict(list)
    for round_ in range(ROUNDS):
        for workers in (1, 2):
            say(f"a request's cost, round {round_ + 1} of {ROUNDS}: {workers} workers")
            with bench.service(workers=workers, pool_size=3) as service:
                outcomes[workers].append(bench.measure(service, users=USERS * workers, think_seconds=THINK_SECONDS))
    print("workers, requests/s, the service's CPU of a request, PostgreSQL's, errors, cores that others used")
    for workers, of in outcomes.items():
        cost = summary(of)
        cpu = f"{cost.worker * 1e6:.0f} µs, {cost.database * 1e6:.0f} µs"
        print(f"{workers}, {cost.throughput:,.0f}, {cpu}, {cost.errors}, {cost.others:.1f}")


def report_spreads(database: Database) -> None:
    print(
        "\nthe fullest worker to the average one: " + ", ".join(f"{queue} {how}" for queue in QUEUES for how in PAUSES)
    )
    for workers in SPREAD_OVER:
        found: defaultdict[int, list[str]] = defaultdict(list)
        for queue, settings in QUEUES.items():
            with running(OURS, database.url, workers=workers, settings=settings) as service:
                time.sleep(_SETTLE_SECONDS)
                pids = [pid for pid in tree(service.pid) if pid != service.pid]
                for count in CONNECTIONS:
                    say(f"{count} connections over {workers} workers, {queue}")
                    for pause in PAUSES.values():
                        values = []
                        for _ in range(ROUNDS):
                            with connected(service.port, count, pause_seconds=pause):
                                values.append(unevenness(holders(pids, service.port)))
                        found[count].append(f"{median(values):.1f}")
        for count, cells in found.items():
            print(f"{workers} workers, {count:,} connections: {', '.join(cells)}")


def main() -> None:
    raise_file_limit()
    with running_server() as server, server.database("workers") as database:
        database.migrate()
        database.fill(SMALL_ROWS)
        report_costs(Bench(server, database, seconds=SECONDS))
        report_spreads(database)


if __name__ == "__main__":
    main()
