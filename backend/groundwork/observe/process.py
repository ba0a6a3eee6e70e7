"""A worker's CPU time and memory, and how late its event loop is.

The collector of prometheus-client describes one process. Here any worker can get the request for the metrics and has to
report all workers. So each worker writes its own numbers into the memory that all share.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic, process_time

from groundwork.observe.metrics import CPU_SECONDS, LOOP_LAG, LOOP_LAG_SECONDS, RESIDENT_BYTES, counts

SAMPLE_SECONDS = 1
_CGROUP = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")


@asynccontextmanager
async def process_sampled() -> AsyncIterator[None]:
    """Sample this process once a second while the context is entered."""
    task = asyncio.create_task(_sample())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sample() -> None:
    counted = 0.0
    while True:
        used = process_time()
        counts.values[CPU_SECONDS] += used - counted
        counted = used
        with suppress(FileNotFoundError):  # on macOS
            counts.values[RESIDENT_BYTES] = _resident_bytes()
        due = monotonic() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        counts.observe(LOOP_LAG, LOOP_LAG_SECONDS, max(0, monotonic() - due))


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def container_memory(cgroup: Path = _CGROUP) -> tuple[int, int] | None:
    """The bytes that this container uses, and its limit; None without a limit.

    Pages of files that the kernel can drop are left out, as in Kubernetes' working set. When the rest reaches the
    limit, the kernel ends the container.
    """
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        kinds = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return used - int(kinds["inactive_file"]), limit
    except (OSError, ValueError, KeyError):
        return None  # no control group of version 2, or "max"
