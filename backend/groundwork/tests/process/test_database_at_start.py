"""What the service's start asks of its database, and what a killed worker leaves in it."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest

from groundwork.tests.core import eventually
from groundwork.tests.process import server
from groundwork.tests.round_trips import CountingProxy

TASKS = "/api/alice/tasks"
KEY = {"Idempotency-Key": "a"}


async def test_a_start_that_opens_no_connections_does_not_wake_the_database(tmp_path: Path, database_url: str) -> None:
    proxy = CountingProxy(database_url)
    async with proxy.serving():
        running = server.running(tmp_path, DATABASE_URL=proxy.url, DATABASE_OPEN_AT_START="0", WEB_CONCURRENCY="2")
        # The start and the end run in threads, because this event loop runs the proxy.
        service = await asyncio.to_thread(running.__enter__)
        try:
            assert proxy.attempts == 0
            async with httpx.AsyncClient(base_url=service.url) as client:
                assert (await client.get("/health/live")).status_code == 200
                assert proxy.attempts == 0
                assert (await client.get(TASKS)).status_code == 200
                assert proxy.attempts == 1
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def test_a_first_request_meets_an_open_connection(tmp_path: Path, database_url: str) -> None:
    """The request does not wait for TLS or a password, only for the preparation of its statement."""
    proxy = CountingProxy(database_url)
    async with proxy.serving():
        running = server.running(tmp_path, DATABASE_URL=proxy.url, WEB_CONCURRENCY="1")
        service = await asyncio.to_thread(running.__enter__)
        try:
            await eventually(partial(_is_quiet, proxy))
            attempts, before = proxy.attempts, proxy.round_trips
            async with httpx.AsyncClient(base_url=service.url) as client:
                for expected in (2, 3):
                    assert (await client.get(TASKS)).status_code == 200
                    assert (proxy.attempts, proxy.round_trips - before) == (attempts, expected)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def _is_quiet(proxy: CountingProxy) -> bool:
    """Whether the check at the start has ended and the worker has its connection."""
    before = proxy.round_trips
    await asyncio.sleep(0.3)
    return proxy.attempts >= 2 and proxy.round_trips == before


async def test_on_another_services_database_it_starts_and_is_never_ready(
    tmp_path: Path, connection: asyncpg.Connection, service_url: str
) -> None:
    """The start does not fail, because it may come before the migrations. Only readiness fails."""
    await connection.execute("DROP TABLE idempotency_keys; UPDATE alembic_version SET version_num = 'theirs'")
    with server.running(tmp_path, DATABASE_URL=service_url, WEB_CONCURRENCY="1") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 503
        service.wait_for_log("not ready: the database is at revision theirs, which this version does not know, and")


@pytest.mark.parametrize("attempts", [1, 2, 20])
async def test_what_a_killed_worker_had_begun_takes_effect_once(
    tmp_path: Path, connection: asyncpg.Connection, service_url: str, attempts: int
) -> None:
    """PostgreSQL completes the statement without the worker. The retry gets the answer that the worker did not send."""
    with server.running(tmp_path, DATABASE_URL=service_url, WEB_CONCURRENCY="2") as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
            async with connection.transaction():
                await connection.execute("LOCK TABLE tasks IN SHARE MODE")
                requests = [client.post(TASKS, json={"title": "x"}, headers=KEY) for _ in range(attempts)]
                lost = asyncio.gather(*requests, return_exceptions=True)
                await eventually(partial(_waits, connection))
                for worker in service.workers():
                    os.kill(worker, signal.SIGKILL)
                assert {type(each) for each in await lost} <= {httpx.RemoteProtocolError, httpx.ReadError}
            await asyncio.to_thread(service.wait_until_live)
            answers = [await client.post(TASKS, json={"title": "x"}, headers=KEY) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [201, 201]
            assert answers[0].content == answers[1].content
            [task] = (await client.get(TASKS)).json()
            assert task == answers[0].json()


async def _waits(connection: asyncpg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass"
    return bool(await connection.fetchval(waiting))
