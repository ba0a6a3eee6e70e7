"""What a worker reports about itself: CPU time, memory, and a late event loop."""

import asyncio
import time
from pathlib import Path

import pytest

from groundwork.observe import process
from groundwork.observe.metrics import CPU_SECONDS, LOOP_LAG, LOOP_LAG_SECONDS, RESIDENT_BYTES, Counts
from groundwork.serve import metrics_endpoint
from groundwork.serve.metrics_endpoint import ServiceCollector

ABOVE_A_SECOND = 1 + LOOP_LAG_SECONDS.index(1) + 1


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    monkeypatch.setattr(process, "counts", counts)
    monkeypatch.setattr(process, "SAMPLE_SECONDS", 0.01)
    return counts


async def test_a_blocked_loop_is_seen_and_what_it_took(counts: Counts) -> None:
    async with process.process_sampled():
        await asyncio.sleep(0.05)
        time.sleep(1.1)  # noqa: ASYNC251 - blocks the loop, which is what is measured
        counted = time.process_time()
        while time.process_time() < counted + 0.2:
            pass
        await asyncio.sleep(0.05)
    lags = counts.values[LOOP_LAG : LOOP_LAG + 1 + len(LOOP_LAG_SECONDS) + 1].tolist()
    assert lags[ABOVE_A_SECOND] >= 1
    assert sum(lags[1:]) > 1
    assert lags[0] > 1
    assert counts.values[CPU_SECONDS] >= 0.2
    assert counts.values[RESIDENT_BYTES] > 10_000_000


def control_group(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_", ".", 1)).write_text(text)
    return directory


def test_memory_that_can_be_dropped_at_once_is_none_in_use(tmp_path: Path) -> None:
    group = control_group(
        tmp_path, memory_max="1000\n", memory_current="900\n", memory_stat="anon 500\ninactive_file 300\nslab 1\n"
    )
    assert process.container_memory(group) == (600, 1000)


@pytest.mark.parametrize(
    "files",
    [
        {"memory_max": "max\n", "memory_current": "900\n", "memory_stat": "inactive_file 300\n"},
        {"memory_current": "900\n", "memory_stat": "inactive_file 300\n"},
        {"memory_max": "1000\n", "memory_current": "900\n", "memory_stat": "anon 500\n"},
        {},
    ],
    ids=["no limit", "no file", "no such number", "no control group"],
)
def test_without_a_limit_nothing_is_told(tmp_path: Path, files: dict[str, str]) -> None:
    assert process.container_memory(control_group(tmp_path, **files)) is None


@pytest.mark.parametrize("memory", [None, (600, 1000)])
def test_a_limit_is_told_where_there_is_one(memory: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "container_memory", lambda: memory)
    told = {
        metric.name: metric.samples[0].value
        for metric in ServiceCollector(Counts(), "1", "1").collect()
        if metric.samples
    }
    assert told.get("process_container_memory_bytes") == (memory[0] if memory else None)
    assert told.get("process_container_memory_limit_bytes") == (memory[1] if memory else None)
