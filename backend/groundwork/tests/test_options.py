"""The options of the tests."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from groundwork.tests import options


def kept(items: list[Any], **given: bool) -> tuple[list[Any], list[Any]]:
    """Which tests run with these options, and which are reported as left out."""
    left_out: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: left_out.extend(items))  # noqa: PLW0108 - called by name
    config: Any = SimpleNamespace(option=SimpleNamespace(**{"stock": False, "pooler": False, **given}), hook=hook)
    options.pytest_collection_modifyitems(config, items)
    return items, left_out


def item(*fixtures: str, fast: bool = False) -> Any:
    return SimpleNamespace(fixturenames=fixtures, get_closest_marker=lambda name: fast and name == "fast")


def test_behind_a_pooler_run_the_tests_that_use_the_services_url() -> None:
    uses, other, fast = item("database_url", "service_url"), item("database_url"), item("service_url", fast=True)
    every = [uses, other, fast]
    assert kept([*every]) == (every, [])
    assert kept([*every], pooler=True) == ([uses, fast], [other])
    assert kept([*every], stock=True) == ([uses, other], [fast])
    assert kept([*every], stock=True, pooler=True) == ([uses], [fast, other])


async def test_the_fixtures_of_a_fixture_count(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> None:
    assert kept([request.node], pooler=True) == ([request.node], [])


def test_a_test_cannot_use_the_services_url_without_naming_it(request: pytest.FixtureRequest) -> None:
    """Otherwise --pooler would leave it out, and nobody would notice."""
    with pytest.raises(pytest.fail.Exception, match="name service_url"):
        request.getfixturevalue("service_url")
