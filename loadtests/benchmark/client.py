"""A closed-loop load generator: each connection sends its next request when the last one is answered.

`python -m loadtests.benchmark.client` reads a `Load` as JSON from standard input and writes an `Outcome` as JSON. It is
a process of its own, and has a core of its own if the machine has two. It does as little as it can for each answer.
"""

import asyncio
import itertools
import json
import math
import random
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field

import uvloop

from loadtests.benchmark.figures import percentile
from loadtests.benchmark.processes import busy_seconds, cpu_seconds
from loadtests.benchmark.wire import read_answer, read_tag

_LAST_ANSWERS_SECONDS = 15.0
_CONNECT_SECONDS = 30.0
_BAD_REQUEST, _UNAVAILABLE = 400, 503


@dataclass(frozen=True)
class Load:
    """What to send: the requests in turn, over a number of connections that are all opened at once."""

    port: int
    requests: list[str]
    connections: int
    seconds: float
    warm_up_seconds: float
    server_pid: int
    retry_after_seconds: float = 0
    """How long a connection waits after a 503, as the answer's Retry-After asks."""
    fill: bool = False
    """If true, each connection repeats one request. `{etag}` in it becomes the last answer's tag, `{number}` a new
    number."""
    think_seconds: float = 0
    """Mean of the pause, exponentially distributed, between an answer and the connection's next request."""
    database_pid: int = 0
    """PostgreSQL's process; 0 if it does not run on this machine."""


@dataclass(frozen=True)
class Outcome:
    """What happened after the warm-up; `errors` also counts what happened during it."""

    answers: int
    seconds: float
    server_cpu_seconds: float
    database_cpu_seconds: float
    client_cpu_seconds: float
    machine_cpu_seconds: float
    """The CPU time of everything on this machine, including the processes above."""
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    refused_p95_seconds: float
    """The 95th percentile of the answers 503, which the other figures leave out; 0 if there were none."""
    slowest_connect_seconds: float
    errors: dict[str, int] = field(default_factory=dict)
    """The number of errors by kind: a status, `not connected`, `closed`, `unanswered`."""


class Run:
    """The state that all connections share."""

    def __init__(self, load: Load) -> None:
        self.requests = [request.encode("latin-1") for request in load.requests]
        self.retry_after_seconds = load.retry_after_seconds
        self.think_seconds = load.think_seconds
        self.fill = load.fill
        self.numbers = itertools.count()
        self.sending = True
        self.measuring = False
        self.latencies = array("d")
        self.refusals = array("d")
        self.errors: Counter[str] = Counter()
        self.waiting = 0
        self.ended = asyncio.Event()

    def answered(self, status: int, seconds: float) -> None:
        if status >= _BAD_REQUEST:
            self.errors[str(status)] += 1
        if self.measuring:
            (self.refusals if status == _UNAVAILABLE else self.latencies).append(seconds)

    def leave(self) -> None:
        """Note that a connection no longer waits for an answer."""
        self.waiting -= 1
        if not self.waiting:
            self.ended.set()


class Connection(asyncio.Protocol):
    def __init__(self, run: Run, first: int) -> None:
        self._run = run
        self._next = first
        self._received = b""
        self._tag = b"*"
        self._waits = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._begin()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._received:
            data = self._received + data
        answer = read_answer(data)
        if answer is None:
            self._received = data
            return
        self._received = b""
        self._run.answered(answer.status, now - self._sent)
        if self._run.fill and answer.status < _BAD_REQUEST:
            self._tag = read_tag(data)
        if answer.status == _UNAVAILABLE and self._run.retry_after_seconds:
            self._pause(self._run.retry_after_seconds)
        elif self._run.think_seconds:
            self._pause(random.expovariate(1 / self._run.think_seconds))
        elif self._run.sending:
            self._send()
        else:
            self._end()
            self._transport.close()

    def _pause(self, seconds: float) -> None:
        self._end()
        asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._run.sending and not self._transport.is_closing():
            self._begin()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waits:
            self._run.errors["closed"] += 1
            self._end()

    def _begin(self) -> None:
        self._run.waiting += 1
        self._waits = True
        self._send()

    def _send(self) -> None:
        requests = self._run.requests
        request = requests[self._next % len(requests)]
        if self._run.fill:
            request = request.replace(b"{etag}", self._tag).replace(b"{number}", b"%d" % next(self._run.numbers))
        else:
            self._next += 1
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _end(self) -> None:
        self._waits = False
        self._run.leave()


async def drive(load: Load) -> Outcome:
    run = Run(load)
    opening = [asyncio.create_task(_connect(run, load.port, first)) for first in range(load.connections)]
    await asyncio.sleep(load.warm_up_seconds)

    run.measuring = True
    began, used = time.perf_counter(), _cpu_seconds(load)
    await asyncio.sleep(load.seconds)
    seconds = time.perf_counter() - began
    server_cpu, database_cpu, client_cpu, machine_cpu = (
        now - then for now, then in zip(_cpu_seconds(load), used, strict=True)
    )
    answers = len(run.latencies)
    # Wait for the requests that are under way: the slowest ones belong to the latencies too.
    run.sending = False
    connects = await asyncio.gather(*opening)
    await _last_answers(run)
    ordered = sorted(run.latencies)
    return Outcome(
        answers=answers,
        seconds=seconds,
        server_cpu_seconds=server_cpu,
        database_cpu_seconds=database_cpu,
        client_cpu_seconds=client_cpu,
        machine_cpu_seconds=machine_cpu,
        p50_seconds=percentile(ordered, 50),
        p95_seconds=percentile(ordered, 95),
        p99_seconds=percentile(ordered, 99),
        refused_p95_seconds=percentile(sorted(run.refusals), 95) if run.refusals else 0,
        slowest_connect_seconds=max(connects),
        errors=dict(run.errors),
    )


def _cpu_seconds(load: Load) -> tuple[float, float, float, float]:
    """The CPU time of the service, of the database, of this process, and of the machine."""
    database = cpu_seconds(load.database_pid) if load.database_pid else math.nan
    return cpu_seconds(load.server_pid), database, time.process_time(), busy_seconds()


async def _connect(run: Run, port: int, first: int) -> float:
    """Open a connection. Returns the seconds that this took."""
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await loop.create_connection(lambda: Connection(run, first), "127.0.0.1", port)
    except OSError:  # TimeoutError among them
        run.errors["not connected"] += 1
    return time.perf_counter() - began


async def _last_answers(run: Run) -> None:
    try:
        if run.waiting:
            async with asyncio.timeout(_LAST_ANSWERS_SECONDS):
                await run.ended.wait()
    except TimeoutError:
        run.errors["unanswered"] += run.waiting


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(drive(Load(**json.load(sys.stdin))))), sys.stdout)
