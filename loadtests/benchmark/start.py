"""Target 5: the time to the first answer, and the memory of one more worker."""

from collections import defaultdict
from functools import partial
from random import Random

from loadtests.benchmark.cost import CONNECTIONS
from loadtests.benchmark.database import Database, Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import OPERATIONS, requests_of_each_operation, send
from loadtests.benchmark.processes import pss_bytes
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, milliseconds, times
from loadtests.benchmark.servers import OURS, import_seconds, running

START_LIMIT = 1.3
MEMORY_LIMIT_MIB = 35
_IMPORTED = "fastapi, sqlmodel, asyncpg"
_REPETITIONS = 15
_WORKERS = (1, 2)
_MIB = 1024 * 1024


def measure_start(server: Server, template: str) -> list[Section]:
    """Imports, first live answer and first task, each from a process's start on the server's core, in a new order
    each time: what comes right after the end of a service takes longer."""
    seconds = defaultdict[str, list[float]](list)
    with server.database("start", copy_of=template) as database:
        measures = [
            (f"import {_IMPORTED}", partial(import_seconds, _IMPORTED)),
            ("exec to the first 200 of /health/live", partial(_start_seconds, database, "/health/live")),
            (
                "exec to the first 200 that comes from the database",
                partial(_start_seconds, database, "/api/bench/tasks?limit=1"),
            ),
        ]
        order, random = list(measures), Random(7)
        for repetition in range(_REPETITIONS):
            say(f"start, {repetition + 1} of {_REPETITIONS}")
            random.shuffle(order)
            for name, measure in order:
                seconds[name].append(measure())
    measured = {name: median(seconds[name]) for name, _ in measures}
    reference, *_ = measured.values()
    return [
        Section(
            "Start",
            f"gunicorn with one worker on one core, byte code compiled; medians of {_REPETITIONS}. The interpreter's"
            " own start is in every line.",
            [["", "time", "ratio"]]
            + [[name, milliseconds(value), times(ratio(value, reference))] for name, value in measured.items()],
            [
                Verdict(5, f"{name}, to importing", ratio(value, reference), START_LIMIT)
                for name, value in list(measured.items())[1:]
            ],
        )
    ]


def _start_seconds(database: Database, path: str) -> float:
    with running(OURS, database.url, ready=path) as service:
        return service.start_seconds


def measure_memory(server: Server, template: str) -> list[Section]:
    """Measure the memory when each worker has served every operation."""
    memory = {}
    with server.database("memory", copy_of=template) as database:
        requests = requests_of_each_operation(database)
        for workers in _WORKERS:
            say(f"memory of {workers} worker{'s' * (workers > 1)}")
            with running(OURS, database.url, workers=workers) as service:
                for operation in OPERATIONS:
                    send(service, requests[operation], connections=CONNECTIONS, seconds=1, warm_up_seconds=0)
                memory[workers] = pss_bytes(service.pid) / _MIB
    further = memory[2] - memory[1]
    return [
        Section(
            "Memory",
            "PSS of the whole process tree, gunicorn's own process included, after load.",
            [
                ["", "MiB"],
                ["gunicorn and the first worker", f"{memory[1]:.1f}"],
                ["a further worker", f"{further:.1f}"],
            ],
            [Verdict(5, "memory of a further worker", further, MEMORY_LIMIT_MIB, " MiB")],
        )
    ]
