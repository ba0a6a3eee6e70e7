"""Lists that clients sort and filter."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from groundwork.serve.settings import Settings
from groundwork.testing import postgres, statements
from groundwork.testing.contract.sorting import *  # noqa: F403
from groundwork.testing.service import Service
from groundwork.tests.errands import ERRAND, create_app, create_template

RESOURCES = [ERRAND]
DIFFERS: dict[str, Any] = {}


@pytest.fixture(scope="module")
def service_under_test() -> Service:
    return Service(create_app, Settings)


@pytest.fixture(scope="module")
def template_database(postgres_server: postgres.Server) -> Iterator[str]:
    name = create_template(postgres_server, postgres.TEMPLATE)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(autouse=True)
def errands_are_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in no metadata of the service, where the plugin looks for owned tables."""
    monkeypatch.setattr(statements, "owned_tables", lambda: ["errands"])
    monkeypatch.setattr(statements, "_users_columns", lambda: {"errands": "user_id"})
