"""What the tests of a service need: `groundwork.testing.plugin` is the pytest plugin, `contract` what it checks."""

import pytest

# Before anything imports them: only then does pytest say what was compared in an assertion that fails.
pytest.register_assert_rewrite(
    "groundwork.testing.http",
    "groundwork.testing.contract",
    "groundwork.testing.postgres",
    "groundwork.testing.statements",
)
