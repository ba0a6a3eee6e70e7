"""The URL names two servers. The first one takes connections and answers nothing, so every program uses the second."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from groundwork.tests.process import server
from groundwork.tests.silent import listener, with_first


@pytest.fixture
def url(service_url: str) -> Iterator[str]:
    with ExitStack() as stack:
        port = listener(stack).getsockname()[1]
        yield with_first(service_url, f"127.0.0.1:{port}")


def test_the_service_answers_and_the_start_looks_at_its_limit(
    tmp_path: Path, url: str, pytestconfig: pytest.Config
) -> None:
    # Behind a pooler, the pooler limits the connections. On a machine that stands still for seconds, the start goes on
    # without this look.
    starts = [_looks_at_its_limit(tmp_path / str(number), url) for number in range(2)]
    assert any(starts) is not pytestconfig.option.pooler


def _looks_at_its_limit(folder: Path, url: str) -> bool:
    folder.mkdir()
    with server.running(folder, DATABASE_URL=url, WEB_CONCURRENCY="1") as service:
        assert httpx.get(f"{service.url}/health/ready", timeout=30).status_code == 200
        assert "cannot be reached" not in service.log()
        return "connections: WEB_CONCURRENCY x DATABASE_POOL_SIZE" in service.log()


@pytest.mark.parametrize("program", [["expire.py"], ["-m", "alembic", "upgrade", "head"]], ids=["expire", "migrate"])
def test_what_runs_beside_the_service_reaches_the_database(url: str, program: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *program],
        cwd=server.BACKEND,
        env=server.environment(DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == 0, done.stderr
