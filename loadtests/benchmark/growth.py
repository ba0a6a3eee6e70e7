"""Target 4: an operation on a small table and on a large one, and for a user with few tasks and with many."""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random
from typing import NamedTuple
from uuid import UUID

from app.core.paging import encode_cursor
from loadtests.benchmark import cores
from loadtests.benchmark.database import MANY, SMALL_ROWS, Database, Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import get, page, toggle
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, microseconds, times
from loadtests.benchmark.servers import OURS, Service, running
from loadtests.benchmark.wire import read_answer

LIMIT = 1.3
PAGE, FAR_PAGE, FAR_PAGES = 50, 1000, 40
REPETITIONS = 2000
_WARM_UP = 200
_SEVERAL = 4000
_FEW = 10


class Series(NamedTuple):
    """Requests that are sent one after the other on one connection, and timed."""

    service: Service
    requests: Sequence[bytes]


def measure(server: Server, template: str, *, rows: int) -> list[Section]:
    """One request in flight at any time, each series' next in turn, so that all see the same moods of the machine."""
    with ExitStack() as stack:
        small = stack.enter_context(server.database("small", copy_of=template))
        large = stack.enter_context(server.database("large"))
        say(f"growth: filling a table with {rows:,} rows")
        large.migrate()
        large.fill(rows)
        on_small = stack.enter_context(running(OURS, small.url))
        on_large = stack.enter_context(running(OURS, large.url))
        series = {
            **{("small", *name): Series(on_small, requests) for name, requests in of_table(small, SMALL_ROWS).items()},
            **{("large", *name): Series(on_large, requests) for name, requests in of_table(large, rows).items()},
            **{("users", *name): Series(on_large, requests) for name, requests in of_users(large).items()},
        }
        say(f"growth: {REPETITIONS:,} requests of each of {len(series)} kinds in turn")
        with cores.staying_on(cores.CLIENT):
            latency = {name: median(latencies) for name, latencies in take_turns(series).items()}
    return [table_section(latency, rows), user_section(latency)]


def of_table(database: Database, rows: int) -> dict[tuple[str, ...], list[bytes]]:
    """Of ordinary users, each request another's."""
    keys = database.some_tasks(_SEVERAL, rows)
    return {
        ("get",): [get(key) for key in keys],
        ("page",): [page(key.user_id, f"?limit={PAGE}") for key in keys],
        ("toggle",): [toggle(key) for key in keys],
    }


def of_users(database: Database) -> dict[tuple[str, ...], list[bytes]]:
    found: dict[tuple[str, ...], list[bytes]] = {}
    for user_id in ("few", "many"):
        # The oldest ten or a spread of the hundred thousand: the newest alone would lie side by side.
        keys = database.tasks_of(user_id, limit=MANY)[:: 1 if user_id == "few" else MANY // _SEVERAL]
        found["get", user_id] = [get(key) for key in keys]
        found["page", user_id] = [page(user_id, f"?limit={_FEW}")]
        found["toggle", user_id] = [toggle(key) for key in keys]
    before = database.tasks_of("many", skip=PAGE * (FAR_PAGE - 1) - 1, limit=PAGE * FAR_PAGES)[::PAGE]
    cursors = [encode_cursor(UUID(key.task_id)) for key in before]
    found["far",] = [page("many", f"?limit={PAGE}&cursor={cursor}") for cursor in cursors]
    return found


def take_turns(series: Mapping[tuple[str, ...], Series]) -> dict[tuple[str, ...], list[float]]:
    """Seconds of each answer; the first ones warm up and are left out.

    Raises:
        RuntimeError: an answer was not 200.
    """
    latencies: dict[tuple[str, ...], list[float]] = {name: [] for name in series}
    with ExitStack() as stack:
        connections = {
            service.port: stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            for service in {each.service for each in series.values()}
        }
        # In a new order each time: a request costs more right after one to the other service.
        order, random = list(series.items()), Random(7)
        for turn in range(-_WARM_UP, REPETITIONS):
            random.shuffle(order)
            for name, (service, requests) in order:
                seconds = ask(connections[service.port], requests[turn % len(requests)])
                if turn >= 0:
                    latencies[name].append(seconds)
    return latencies


def ask(connection: socket.socket, request: bytes) -> float:
    """Seconds until the whole answer was there.

    Raises:
        RuntimeError: the answer was not 200.
    """
    began = time.perf_counter()
    connection.sendall(request)
    data = connection.recv(65536)
    while (answer := read_answer(data)) is None:
        part = connection.recv(65536)
        if not part:
            raise RuntimeError("the service closed the connection")
        data += part
    seconds = time.perf_counter() - began
    if answer.status != 200:  # noqa: PLR2004
        raise RuntimeError(f"{answer.status} for {request!r}")
    return seconds


def table_section(latency: Mapping[tuple[str, ...], float], rows: int) -> Section:
    compared = {
        "get": (latency["small", "get"], latency["large", "get"]),
        f"first page of {PAGE}": (latency["small", "page"], latency["large", "page"]),
        f"page {FAR_PAGE:,} of {PAGE}": (latency["small", "page"], latency["users", "far"]),
        "toggle": (latency["small", "toggle"], latency["large", "toggle"]),
    }
    return _section(
        "Growth of the table",
        f"Latency on one connection, medians of {REPETITIONS:,}; requests go to rows all over the table. Page"
        f" {FAR_PAGE:,}, of a user with {MANY:,} tasks and reached by its cursor, is compared with the first page on"
        " the small table.",
        (f"{SMALL_ROWS:,} rows", f"{rows:,} rows"),
        compared,
    )


def user_section(latency: Mapping[tuple[str, ...], float]) -> Section:
    names = {"get": "get", "page": f"first page of {_FEW}", "toggle": "toggle"}
    return _section(
        "Growth of one user's tasks",
        f"The same on the large table, for a user with {_FEW} tasks and one with {MANY:,}.",
        (f"{_FEW} tasks", f"{MANY:,} tasks"),
        {title: (latency["users", name, "few"], latency["users", name, "many"]) for name, title in names.items()},
    )


def _section(title: str, notes: str, ends: tuple[str, str], compared: Mapping[str, tuple[float, float]]) -> Section:
    rows = [["latency", *ends, "ratio"]]
    rows += [
        [name, microseconds(less), microseconds(more), times(ratio(more, less))]
        for name, (less, more) in compared.items()
    ]
    return Section(
        title,
        notes,
        rows,
        [
            Verdict(4, f"{name}, {ends[1]} to {ends[0]}", ratio(more, less), LIMIT)
            for name, (less, more) in compared.items()
        ],
    )
