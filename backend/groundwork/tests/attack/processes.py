"""The resources that the service's processes hold."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from groundwork.tests.process.server import Server


class Held(NamedTuple):
    """The sums over all workers."""

    memory_mb: float
    descriptors: int


def workers(service: Server) -> list[int]:
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    return sorted(int(pid) for pid in children.read_text().split())


def held(service: Server) -> Held:
    pids = workers(service)
    return Held(sum(map(_memory_mb, pids)), sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids))


def wait_until(true: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until the condition is true. Returns whether that happened in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
