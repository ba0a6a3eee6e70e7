"""`groundwork/docs/jobs.md`, followed in a copy of the repository: `make test-guide`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from groundwork.testing import postgres
from groundwork.tests.guide.guide import ROOT, Guide, copy_repository
from groundwork.tests.guide.test_add_a_resource import CHECKS, run
from groundwork.tests.process import server

pytestmark = pytest.mark.guide

PAGE = ROOT / "backend" / "groundwork" / "docs" / "jobs.md"
DATABASE = "test_jobs_guide"


@pytest.fixture(scope="module")
def url(postgres_server: postgres.Server) -> Iterator[str]:
    postgres_server.create_database(DATABASE)
    yield postgres_server.url(DATABASE)
    postgres_server.drop_database(DATABASE)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    """A copy with everything that the page says, and with the migration that Alembic writes."""
    copy = copy_repository(tmp_path_factory.mktemp("jobs") / "copy")
    Guide(PAGE).apply(copy)
    backend = copy / "backend"
    for arguments in (("upgrade", "head"), ("revision", "--autogenerate", "-m", "create jobs"), ("upgrade", "head")):
        run(backend, "alembic", *arguments, DATABASE_URL=url, DATABASE_DIRECT_URL="")
    return backend


def test_nothing_is_left_to_migrate(backend: Path, url: str) -> None:
    run(backend, "alembic", "check", DATABASE_URL=url, DATABASE_DIRECT_URL="")


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(backend: Path, command: tuple[str, ...]) -> None:
    run(backend, *command)


def test_the_whole_suite_of_the_copy_passes(backend: Path) -> None:
    run(backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests")


async def test_a_request_leads_to_a_job(
    backend: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BACKEND", backend)
    with server.running(tmp_path, DATABASE_URL=url) as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            headers = {"X-Request-ID": "of-the-guide", "Idempotency-Key": "once"}
            answers = [await client.post("/api/alice/tasks", json={"title": "a"}, headers=headers) for _ in range(2)]
            assert [answer.status_code for answer in answers] == [201, 201]
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM jobs") == 1
    log = await _worker(backend, url)
    [line] = [each for each in log if each["message"] == "task created"]
    assert (line["task"], line["job"], line["request_id"]) == (answers[-1].json()["id"], "task_created", "of-the-guide")
    assert await connection.fetchval("SELECT count(*) FROM jobs") == 0
    await connection.close()


async def _worker(backend: Path, url: str) -> list[dict[str, str]]:
    """The log of a worker that has done all due jobs."""
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [sys.executable, "worker.py", "once"],
        cwd=backend,
        env=server.environment(DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stderr.splitlines()]
