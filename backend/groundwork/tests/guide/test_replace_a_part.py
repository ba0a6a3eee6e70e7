"""`docs/replace-a-part.md`: its code fits the repository, and its sign-in lets nobody else in: `make test-guide`."""

from pathlib import Path

import pytest

from groundwork.tests.guide.guide import ROOT, Guide, copy_repository
from groundwork.tests.guide.test_add_a_resource import CHECKS, run

pytestmark = pytest.mark.guide

PAGE = ROOT / "docs" / "replace-a-part.md"
FOUNDATION = [
    "groundwork/tests/sign_in/test_http.py::test_another_users_path_holds_nothing",
    "groundwork/tests/core/test_ownership.py::test_every_statement_of_the_service_names_its_owner",
]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with everything that the page says."""
    copy = copy_repository(tmp_path_factory.mktemp("parts") / "copy")
    Guide(PAGE).apply(copy)
    return copy / "backend"


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(backend: Path, command: tuple[str, ...]) -> None:
    run(backend, *command)


def test_the_whole_suite_of_the_copy_passes(backend: Path) -> None:
    run(backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests", *FOUNDATION)
