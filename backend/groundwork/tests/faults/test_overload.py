"""Many times more clients than the service can serve."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from groundwork.tests.faults.cluster import Cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.process import server
from loadtests.benchmark.client import Load, Outcome
from loadtests.benchmark.processes import pss_bytes
from loadtests.benchmark.wire import request

CROWD = 5000
_FILES = CROWD + 1000
_MIB = 1024 * 1024
_BODY = json.dumps({"title": "Write the quarterly report"}).encode()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and those that it starts, open as many files as there are clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        pytest.skip(f"{CROWD} connections need {_FILES} open files; the limit (`ulimit -Hn`) is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def send(service: server.Server, *, connections: int, seconds: float = 4, polite: bool = True) -> Outcome:
    """Send reads and writes from another process. Polite clients come back when Retry-After says."""
    user = f"/api/user-{connections}/tasks"
    load = Load(
        port=service.port,
        requests=[each.decode() for each in (request("POST", user, _BODY), *[request("GET", f"{user}?limit=5")] * 4)],
        connections=connections,
        seconds=seconds,
        warm_up_seconds=3 if connections >= CROWD else 1,
        server_pid=service.process.pid,
        retry_after_seconds=1 if polite else 0,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.benchmark.client",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=server.BACKEND.parent, env={**os.environ, "PYTHONPATH": "backend"},
    )  # fmt: skip
    output, _ = await process.communicate(json.dumps(asdict(load)).encode())
    return Outcome(**json.loads(output))


def describe(outcome: Outcome) -> str:
    served = f"{outcome.answers / outcome.seconds:,.0f} requests/s, p95 {outcome.p95_seconds * 1000:.0f} ms"
    refused = outcome.errors.get("503", 0)
    if not refused:
        return f"{served}, none refused"
    return f"{served}, {refused:,} refused, p95 {outcome.refused_p95_seconds * 1000:.0f} ms"


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("polite", [True, False], ids=["polite", "impolite"])
@pytest.mark.parametrize("connections", [1000, CROWD])
async def test_overload(tmp_path: Path, cluster: Cluster, say: Say, connections: int, polite: bool) -> None:
    with server.running(tmp_path, DATABASE_URL=cluster.url(), WEB_CONCURRENCY="2") as service:
        before = await send(service, connections=100)
        memory = pss_bytes(service.process.pid)
        crowd = await send(service, connections=connections, polite=polite)
        grown = pss_bytes(service.process.pid) - memory
        after = await send(service, connections=100, seconds=1)
        no_defect(service)
    say(
        f"100 clients: {describe(before)}; {connections:,} clients: {describe(crowd)}; 100 again:"
        f" {describe(after)}; memory grew by {grown / _MIB:.0f} MiB"
    )
    assert set(crowd.errors) <= {"503"}
    assert crowd.answers > 0
    assert after.answers > 0
    assert set(after.errors) <= {"503"}
    assert grown < 200 * _MIB
