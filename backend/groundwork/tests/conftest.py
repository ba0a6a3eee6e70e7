"""These tests take the template's own service as their example."""

from collections.abc import Iterator

import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.data import reconnection
from groundwork.http import streams
from groundwork.testing import postgres
from groundwork.testing.service import Service

pytest_plugins = [
    "groundwork.testing.plugin",
    "groundwork.tests.options",
    "groundwork.tests.markers",
    "groundwork.tests.stalls",
]


@pytest.fixture(scope="session")
def service_under_test() -> Service:
    return Service(create_app, Settings)


@pytest.fixture(autouse=True)
def process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the mark of a stopping process. A test that ends a worker's protocol must not end later tests' streams."""
    monkeypatch.setattr(streams, "_is_stopping", False)


@pytest.fixture
def one_attempt_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool opens no second connection beside a slow attempt. A test that counts connections needs that."""
    monkeypatch.setattr(reconnection, "_HANGING_SECONDS", 600.0)


@pytest.fixture(scope="module")
def module_database(postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of a migrated database that all tests of a module share."""
    with postgres_server.database(postgres.TEMPLATE) as url:
        yield url
