"""Target 4: an operation on a small table and on a large one, and for a user with few tasks and with many."""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import Random
from typing import NamedTuple
from uuid import UUID

from groundwork.http.paging import encode_cursor
from loadtests.benchmark import cores
from loadtests.benchmark.database import MANY, SMALL_ROWS, Database, Key, Server
from loadtests.benchmark.figures import median, ratio
from loadtests.benchmark.load import get, page, toggle
from loadtests.benchmark.progress import say
from loadtests.benchmark.report import Section, Verdict, microseconds, times
from loadtests.benchmark.servers import OURS, Service, running
from loadtests.benchmark.wire import read_answer

LIMIT = 1.3
PAGE, FAR_PAGE, FAR_PAGES = 50, 1000, 40
FAR = f"page {FAR_PAGE:,} of {PAGE}"
UNCACHED = f"first page of {PAGE}, its rows not in PostgreSQL's cache"
REPETITIONS = 2000
_WARM_UP = 200
_SEVERAL = 100  # each request is sent in the warm-up too, so that the disk is not measured
_EACH_ONCE = 4000
_FEW = 10
_SHORT_PAGE = 5  # both users have more

Latencies = Mapping[tuple[str, str], float]
"""Seconds, by the name of the series and the operation."""


class Series(NamedTuple):
    """Requests that are sent one after the other on one connection and timed."""

    service: Service
    requests: Sequence[bytes]


def measure(server: Server, template: str, *, rows: int) -> list[Section]:
    """Time one request at a time. The series take turns, so that a slow moment of the machine affects all of them."""
    with ExitStack() as stack:
        small = stack.enter_context(server.database("small", copy_of=template))
        large = stack.enter_context(server.database("large"))
        say(f"growth: filling a table with {rows:,} rows")
        large.migrate()
        large.fill(rows)
        on_small = stack.enter_context(running(OURS, small.url))
        on_large = stack.enter_context(running(OURS, large.url))
        small_requests = {**of_ordinary_users(small, SMALL_ROWS), FAR: second_pages(small)}
        large_requests = {**of_ordinary_users(large, rows), FAR: far_pages(large)}
        # Both services get the same number of requests, because the one that gets more would be faster.
        tables = {
            **{("small", name): Series(on_small, requests) for name, requests in small_requests.items()},
            **{("large", name): Series(on_large, requests) for name, requests in large_requests.items()},
        }
        users = {
            (user_id, name): Series(on_large, requests)
            for user_id in ("few", "many")
            for name, requests in of_one_user(large, user_id).items()
        }
        with cores.staying_on(cores.CLIENT):
            return [table_section(medians(tables), rows), user_section(medians(users))]


def of_ordinary_users(database: Database, rows: int) -> dict[str, list[bytes]]:
    """Requests of users with about a hundred tasks, each of another user."""
    many_keys = database.some_tasks(_EACH_ONCE, rows)
    keys = many_keys[:_SEVERAL]
    return {
        "get": [get(key) for key in keys],
        f"first page of {PAGE}": [page(key.user_id, f"?limit={PAGE}") for key in keys],
        "toggle": [toggle(key) for key in keys],
        UNCACHED: [page(key.user_id, f"?limit={PAGE}") for key in many_keys[_SEVERAL:]],
    }


def second_pages(database: Database) -> list[bytes]:
    """The second pages of ordinary users, who have no third page. A cursor leads there, as to every later page."""
    users = sorted({key.user_id for key in database.some_tasks(_EACH_ONCE, SMALL_ROWS)})[:FAR_PAGES]
    return [page_after(key) for user_id in users for key in database.tasks_of(user_id, skip=PAGE - 1, limit=1)]


def far_pages(database: Database) -> list[bytes]:
    """The pages from page 1,000 on, of the user with many tasks."""
    last_of_each_page = database.tasks_of("many", skip=PAGE * (FAR_PAGE - 1) - 1, limit=PAGE * FAR_PAGES)[::PAGE]
    return [page_after(key) for key in last_of_each_page]


def page_after(last: Key) -> bytes:
    return page(last.user_id, f"?limit={PAGE}&cursor={encode_cursor(UUID(last.task_id))}")


def of_one_user(database: Database, user_id: str) -> dict[str, list[bytes]]:
    # All ten tasks, or a sample from the whole hundred thousand. The newest alone would lie side by side in the table.
    keys = database.tasks_of(user_id, limit=MANY)[:: 1 if user_id == "few" else MANY // _SEVERAL]
    return {
        "get": [get(key) for key in keys],
        f"first page of {_SHORT_PAGE}": [page(user_id, f"?limit={_SHORT_PAGE}")],
        "toggle": [toggle(key) for key in keys],
    }


def medians(series: Mapping[tuple[str, str], Series]) -> Latencies:
    say(f"growth: {REPETITIONS:,} requests of each of {len(series)} kinds in turn")
    return {name: median(latencies) for name, latencies in take_turns(series).items()}


def take_turns(series: Mapping[tuple[str, str], Series]) -> dict[tuple[str, str], list[float]]:
    """The seconds of each answer. The first answers warm the service up and are left out.

    Raises:
        RuntimeError: an answer was not 200.
    """
    latencies: dict[tuple[str, str], list[float]] = {name: [] for name in series}
    with ExitStack() as stack:
        connections = {
            service.port: stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            for service in {each.service for each in series.values()}
        }
        # The order is new each time, because a request costs more right after one to the other service.
        order, random = list(series.items()), Random(7)
        for turn in range(-_WARM_UP, REPETITIONS):
            random.shuffle(order)
            for name, (service, requests) in order:
                seconds = ask(connections[service.port], requests[turn % len(requests)])
                if turn >= 0:
                    latencies[name].append(seconds)
    return latencies


def ask(connection: socket.socket, request: bytes) -> float:
    """The seconds until the whole answer was there.

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


def table_section(latency: Latencies, rows: int) -> Section:
    return _section(
        "Growth of the table",
        f"Latency on one connection, medians of {REPETITIONS:,}, for rows all over the table that were asked for"
        f" before. Page {FAR_PAGE:,} is that of a user with {MANY:,} tasks; on the small table it is compared with the"
        " second page, which has a cursor too. Rows that are not in PostgreSQL's cache, each of another user here, are"
        " read one block for each row, in the small table from the cache even so: no target, but what to expect.",
        (f"{SMALL_ROWS:,} rows", f"{rows:,} rows"),
        ("small", "large"),
        latency,
    )


def user_section(latency: Latencies) -> Section:
    return _section(
        "Growth of one user's tasks",
        f"The same on the large table, for a user with {_FEW} tasks and one with {MANY:,}.",
        (f"{_FEW} tasks", f"{MANY:,} tasks"),
        ("few", "many"),
        latency,
    )


def _section(title: str, notes: str, ends: tuple[str, str], of: tuple[str, str], latency: Latencies) -> Section:
    compared = {name: (latency[of[0], name], latency[of[1], name]) for end, name in latency if end == of[0]}
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
            if name != UNCACHED
        ],
    )
