"""Figures about processes, from Linux's /proc."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def tree(pid: int) -> list[int]:
    """A process and all processes below it that are alive."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all processes below it, without those that have ended."""
    ticks = 0
    for each in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def busy_seconds() -> float:
    """CPU time of everything on this machine, and the time that the host of a virtual machine gave to others."""
    user, nice, system, _idle, _wait, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(others)) / _TICKS_PER_SECOND


def pss_bytes(pid: int) -> int:
    """Memory of a process and all processes below it. Shared memory is divided between those that share it (PSS)."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) * _KIB for line in lines if line.startswith("Pss:"))
    return total
