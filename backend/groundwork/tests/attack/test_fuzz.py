"""Ten thousand connections of malformed, malicious or merely odd bytes."""

import collections
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import httpx

from groundwork.tests.attack import SEED, scaled, wire
from groundwork.tests.attack.cases import Case, case
from groundwork.tests.process.server import Server

CASES = scaled(10_000)
CLIENTS = 8


def send(service: Server, number: int) -> tuple[Case, list[wire.Answer]]:
    """Send a case in one piece or several, end the sending side, and read everything that comes back."""
    sent = case(SEED, number)
    random = Random(f"{SEED}/{number}/pieces")
    with wire.connect(service) as client:
        with suppress(ConnectionResetError, BrokenPipeError):  # the service refuses it before it has read all of it
            if random.random() < 0.3 and len(sent.data) < 5000:
                for place in range(0, len(sent.data), 40):
                    client.sendall(sent.data[place : place + 40])
            else:
                client.sendall(sent.data)
            client.shutdown(socket.SHUT_WR)
        return sent, wire.parse(wire.read_to_end(client), heads=sent.heads)


def check(service: Server, number: int) -> tuple[str, int]:
    """Send a case and check what comes back. Returns the case's kind and the number of answers."""
    try:
        sent, answers = send(service, number)
        whole, rest = answers[: len(sent.ids)], answers[len(sent.ids) :]
        assert [answer.id for answer in whole] == sent.ids
        for answer, status in zip(whole, sent.statuses, strict=True):
            assert status in (None, answer.status), answer
        if sent.broken:
            assert len(rest) <= 1, "something was served after what is broken"
            assert all(answer.status in (400, 405, 404, 413, 431, 501, 505) for answer in rest), rest
        assert "smuggled" not in [answer.id for answer in answers]
    except Exception as error:
        sent = case(SEED, number)
        error.add_note(f"ATTACK_SEED={SEED}, case {number} ({sent.kind}): {sent.data[:1000]!r}")
        raise
    return sent.kind, len(answers)


def test_no_bytes_harm_the_service(service: Server, show: Callable[[str], None]) -> None:
    tasks = f"{service.url}/api/victim/tasks"
    mine = httpx.post(tasks, json={"title": "Untouched"}).json()
    started = time.monotonic()
    kinds: collections.Counter[str] = collections.Counter()
    answers = 0
    with ThreadPoolExecutor(CLIENTS) as threads:
        for kind, count in threads.map(lambda number: check(service, number), range(CASES)):
            kinds[kind] += 1
            answers += count
    show(f"fuzzer: seed {SEED}, {CASES} cases, {answers} answers, {time.monotonic() - started:.0f} s; {dict(kinds)}")
    assert httpx.get(tasks).json() == [mine]
    assert 500 not in [event.get("status") for event in service.events()]
