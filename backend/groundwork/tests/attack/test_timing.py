"""A request for another user's task takes as long as one for a task that never existed, and gets the same answer."""

import statistics
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from random import Random
from uuid import UUID

import httpx
import pytest

from groundwork.tests.attack import SEED, scaled, wire
from groundwork.tests.process.server import Server

PAIRS = scaled(3_000)
OPERATIONS = {"GET": ("", None), "PUT": ("", b'{"title": "Mine"}'), "PATCH": ("/complete", None), "DELETE": ("", None)}


@pytest.mark.parametrize("method", OPERATIONS)
def test_a_foreign_task_is_answered_like_a_missing_one(
    service: Server, show: Callable[[str], None], method: str
) -> None:
    created = httpx.post(f"{service.url}/api/alice/tasks", json={"title": "Secret", "description": "x" * 1000}).json()
    missing = str(UUID(int=UUID(created["id"]).int ^ 1))
    suffix, body = OPERATIONS[method]
    requests = {
        id: wire.request(method, f"/api/mallory/tasks/{id}{suffix}", body, X_Request_ID="the-same")
        for id in (created["id"], missing)
    }
    seconds: dict[str, list[float]] = {id: [] for id in requests}
    answers = set()
    random = Random(SEED)
    with wire.connect(service) as client:
        for _ in range(PAIRS):
            for id in random.sample(list(requests), 2):
                started = time.perf_counter()
                client.sendall(requests[id])
                answer = client.recv(4096)
                seconds[id].append(time.perf_counter() - started)
                answers.add(_without_date(answer))
    [answer] = answers
    assert wire.parse(answer)[0].status == 404
    assert httpx.get(f"{service.url}/api/alice/tasks/{created['id']}").json() == created
    foreign, absent = seconds[created["id"]], seconds[missing]
    slower = _share_of_pairs_slower(foreign, absent)
    show(
        f"timing of {method}: {PAIRS} pairs, median {1e6 * statistics.median(foreign):.0f} µs foreign,"
        f" {1e6 * statistics.median(absent):.0f} µs missing; the foreign one is slower in {slower:.1%} of all pairs"
    )
    # With this many pairs, chance changes the share by at most 2 %. A second statement would make it 80 % or more.
    assert 0.4 < slower < 0.6


def _without_date(answer: bytes) -> bytes:
    head, _, rest = answer.partition(b"date: ")
    return head + rest.partition(b"\r\n")[2]


def _share_of_pairs_slower(ones: list[float], others: list[float]) -> float:
    """The share of all pairs in which the first value is larger: the Mann-Whitney statistic."""
    ranked = sorted(others)
    wins = sum((bisect_left(ranked, one) + bisect_right(ranked, one)) / 2 for one in ones)
    return wins / (len(ones) * len(others))
