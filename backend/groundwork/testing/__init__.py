"""Tools for the tests of a service: `plugin` is the pytest plugin, and `contract` has the tests of every resource."""

import pytest

# Registered before anything imports these modules, so that pytest shows what a failed assertion compared.
pytest.register_assert_rewrite(
    "groundwork.testing.http",
    "groundwork.testing.contract",
    "groundwork.testing.postgres",
    "groundwork.testing.statements",
)
