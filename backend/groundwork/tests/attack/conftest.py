"""These tests attack a running service for minutes: `make test-attack`."""

from collections.abc import Callable, Iterator

import pytest

from groundwork.tests.attack import processes
from groundwork.tests.process import server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "attack" in item.path.parts:
            item.add_marker("attack")


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A service for a module's tests. At the end it must have its first workers, and no warning in its log."""
    variables = {"CLIENT_WAIT_SECONDS": "3", "KEEP_ALIVE_SECONDS": "10", "WEB_CONCURRENCY": "2"}
    with server.running(tmp_path_factory.mktemp("attack"), DATABASE_URL=module_database, **variables) as service:
        assert processes.wait_until(lambda: len(processes.workers(service)) == 2)
        workers = processes.workers(service)
        yield service
        assert processes.workers(service) == workers
    assert "Traceback" not in service.log()
    assert [event for event in service.events() if event["level"] != "info"] == []


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a scenario's figures past pytest's capture."""

    def show(figures: str) -> None:
        with capsys.disabled():
            print(f"\n    {figures}", flush=True)  # noqa: T201 - what it is for

    return show
