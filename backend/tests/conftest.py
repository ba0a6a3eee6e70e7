"""The tests' database, application and client come from the foundation's plugin; here stands what the service is."""

import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.service import Service

pytest_plugins = ["groundwork.testing.plugin"]


@pytest.fixture(scope="session")
def service_under_test() -> Service:
    return Service(create_app, Settings)
