"""Each scenario breaks something under the real service, with 50 clients at work: `make test-faults`."""

import sys
from collections.abc import Callable, Iterator

import pytest

from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.faults.cluster import Cluster, new_cluster
from groundwork.tests.process import server

Say = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker("faults")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A migrated database on a server of the test's own."""
    with new_cluster() as cluster:
        postgres.migrate(cluster.url(), BACKEND)
        yield cluster


@pytest.fixture
def say(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints the scenario's figures in one line."""

    def say(figures: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {figures}\n")

    return say


def no_defect(service: server.Server) -> None:
    """Check that the log has no traceback. A broken database must not cause unhandled errors."""
    assert "Traceback" not in service.log(), service.log()
