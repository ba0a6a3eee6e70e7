"""More connections than the server has."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from groundwork.data.connection_limits import RESERVE
from groundwork.dev.postgres import USER
from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster, new_cluster
from groundwork.tests.faults.conftest import Say, no_defect
from groundwork.tests.faults.load import Load
from groundwork.tests.process import server

CONNECTIONS = 20  # of which PostgreSQL reserves three for superusers


@pytest.fixture
def small() -> Iterator[Cluster]:
    with new_cluster(max_connections=str(CONNECTIONS)) as cluster:
        postgres.migrate(cluster.url(), BACKEND)
        yield cluster


def start(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        server.COMMAND, cwd=server.BACKEND, env=server.environment(DATABASE_URL=url, PORT=str(server.free_port())),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_pools_that_do_not_fit_stop_the_start(small: Cluster, say: Say) -> None:
    done = start(small.url())
    assert done.returncode == os.EX_CONFIG
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("DATABASE_POOL_SIZE: ")]
    say(sentence)
    assert f"need {2 * 10 + RESERVE} connections, but the database allows 17: set DATABASE_POOL_SIZE to 7" in sentence
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("limited", [f"ROLE {USER}", "DATABASE postgres"])
def test_the_roles_and_the_databases_limits_count(cluster: Cluster, limited: str) -> None:
    postgres.Server(cluster.url()).execute(f"ALTER {limited} CONNECTION LIMIT 12")
    done = start(cluster.url())
    assert done.returncode == os.EX_CONFIG
    assert "the database allows 12: set DATABASE_POOL_SIZE to 4 or less" in done.stderr


def test_pools_that_fit_are_logged(tmp_path: Path, small: Cluster) -> None:
    with server.running(tmp_path, DATABASE_URL=small.url(), DATABASE_POOL_SIZE="7") as service:
        assert "need 17 of the database's 17 connections" in service.log()


def test_a_database_that_was_away_at_the_start_is_looked_at_later(tmp_path: Path, small: Cluster) -> None:
    small.stop()
    with server.running(tmp_path, DATABASE_URL=small.url(), WEB_CONCURRENCY="2") as service:
        assert "the service starts, and its workers try again" in service.log()
        small.start()
        assert httpx.get(f"{service.url}/health/ready", timeout=30).status_code == 200
        complaints = [event["message"] for event in service.events() if event["level"] == "error"]
        # Each worker logs it with its first connection, which it opens without a request.
        assert 1 <= len(complaints) <= 2
        assert all("DATABASE_POOL_SIZE (2 x 10), and 3 in reserve, need 23" in each for each in complaints)


async def test_others_hold_the_servers_connections(tmp_path: Path, small: Cluster, say: Say) -> None:
    """When the server has no free connection, requests wait or get 503, and nothing else happens."""
    # The service holds no connection when the others come, so they get all.
    own = {"DATABASE_POOL_SIZE": "7", "DATABASE_WAIT_SECONDS": "2", "DATABASE_OPEN_AT_START": "0"}
    variables = {"DATABASE_URL": small.url(), **own}
    with server.running(tmp_path, **variables) as service:
        others = [await asyncpg.connect(small.url()) for _ in range(CONNECTIONS)]
        async with Load(service.port) as load:
            await load.run(5)
            await asyncio.gather(*(other.close() for other in others))
            back = time.monotonic()
            await load.run(3)
        await load.check(small.url())
        no_defect(service)
    first = load.first_success_after(0) - back
    say(f"{load.describe()}; first success {first:.3f} s after the others' end")
    assert 0 < first < 1
    assert load.slowest() < 4
    assert set(load.statuses()) == {200, 201, 503}
