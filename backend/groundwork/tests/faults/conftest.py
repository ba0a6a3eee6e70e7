"""Each scenario breaks something under the real service, with 50 clients at work: `make test-faults`."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from groundwork.dev.postgres import find_binaries
from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults import measured
from groundwork.tests.faults.cluster import Cluster, new_cluster
from groundwork.tests.process import server

Say = Callable[[str], None]
SAID: dict[str, measured.Measured] = {}
"""By test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write", action="store_true", help="put what the scenarios measure into RESULTS.md")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker("faults")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Figures of a run in which a promise was broken are not written."""
    if session.config.getoption("--write", False) and SAID and exitstatus == pytest.ExitCode.OK:
        command = [str(find_binaries() / "bin/postgres"), "--version"]
        version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[2]
        before = measured.RESULTS.read_text() if measured.RESULTS.exists() else ""
        measured.RESULTS.write_text(measured.replace(before, SAID, postgres=version))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A migrated database on a server of the test's own."""
    with new_cluster() as cluster:
        postgres.migrate(cluster.url(), BACKEND)
        yield cluster


@pytest.fixture
def say(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints the scenario's figures, one line, and keeps them for RESULTS.md."""

    watch = measured.Watch()

    def say(figures: str) -> None:
        SAID[request.node.name] = measured.Measured(figures, f"{watch.others():.1f}", measured.today())
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {figures}\n")

    return say


def no_defect(service: server.Server) -> None:
    """Check that the log has no traceback. A broken database must not cause unhandled errors."""
    assert "Traceback" not in service.log(), service.log()
