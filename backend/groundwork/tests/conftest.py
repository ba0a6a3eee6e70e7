"""These tests take the template's own service as their example."""

import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.service import Service

pytest_plugins = ["groundwork.testing.plugin", "groundwork.tests.options", "groundwork.tests.markers"]


@pytest.fixture(scope="session")
def service_under_test() -> Service:
    return Service(create_app, Settings)
