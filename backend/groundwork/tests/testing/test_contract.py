"""The contract finds what breaks a promise, says what to do, and leaves out what is said to differ."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from groundwork.testing.parametrize import table_of
from groundwork.testing.resource import PROMISES, Differs
from groundwork.tests import BACKEND
from groundwork.tests.testing.broken import BREAKS, FAILS

CONFTEST = """
import pytest
from app.core.config import Settings
from groundwork.testing.service import Service
from groundwork.tests.testing.broken import create_app

pytest_plugins = ["groundwork.testing.plugin"]


@pytest.fixture(scope="session")
def service_under_test():
    return Service(create_app, Settings)
"""
CONTRACT = """
from groundwork.testing.contract import *
from groundwork.testing.resource import Differs
from tests.resources import RESOURCES

DIFFERS = {differs}
"""
INI = """
[pytest]
addopts = --strict-markers -ra
filterwarnings = error
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""
# What has nothing to do with the application's routes.
LEFT_OUT = "not same_schema and not nothing_to_migrate and not last_constraint and not one_way and not no_lock"


def run_contract(folder: Path, differs: dict[str, Differs], *selection: str) -> str:
    """Run the contract on the broken service, or some tests of it; returns what pytest says."""
    shutil.copytree(BACKEND / "migrations", folder / "migrations")
    shutil.copy(BACKEND / "alembic.ini", folder)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_contract.py").write_text(CONTRACT.format(differs=repr(differs)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-k", LEFT_OUT, *selection],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(BACKEND)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_each_broken_promise_fails_its_tests_and_no_others_and_the_failure_says_what_to_do(tmp_path: Path) -> None:
    said = run_contract(tmp_path, {})
    assert set(re.findall(r"(?m)^(?:FAILED|ERROR) test_contract\.py::(\S+)", said)) == FAILS, said
    for promise, operation in BREAKS.items():
        if promise != "document":
            assert f"{promise}: {PROMISES[promise]}." in said
            assert f'"{operation}": Differs("the reason", from_=["{promise}"]),' in said
    assert "No promise covers archive_task (POST /api/{user_id}/tasks/{task_id}/archive)." in said
    assert '"archive_task": Differs("the reason").' in said
    assert "without_description" not in said
    assert "get_task is not described: give its function a docstring" in said
    # Assertions are rewritten: pytest shows what was compared.
    assert re.search(r"(?m)^E +assert ", said), said


def test_an_entry_takes_an_operation_out_of_its_promises_and_says_why(tmp_path: Path) -> None:
    differs = {
        operation: Differs(
            f"{operation} is meant so.", [name for name, broken in BREAKS.items() if broken == operation]
        )
        for operation in BREAKS.values()
    }
    selection = [f"test_contract.py::{name}" for name in FAILS]
    said = run_contract(tmp_path, {**differs, "archive_task": Differs("It does nothing.")}, *selection)
    assert not re.findall(r"(?m)^(?:FAILED|ERROR) .*", said), said
    assert re.search(rf"(?m)^2 passed, {len(FAILS) - 2} skipped", said), said
    for operation in BREAKS.values():
        assert f"{operation} differs: {operation} is meant so." in said


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (Differs("A reason.", ["pagging"]), "names 'pagging', which is no promise; these are: ownership, statements,"),
        (Differs(" "), "gives no reason: say in a sentence why it differs"),
        (Differs("A reason.", []), "must be a list of promises"),
    ],
)
def test_an_entry_that_makes_no_sense_is_an_error(entry: Differs, says: str) -> None:
    module = ModuleType("tests.test_contract")
    module.__dict__.update(RESOURCES=[], DIFFERS={"list_tasks": entry})
    with pytest.raises(pytest.fail.Exception, match=re.escape(says)):
        table_of(module)


def test_a_module_without_a_table_is_told_so() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"import RESOURCES and DIFFERS from tests\.resources"):
        table_of(ModuleType("tests.test_contract"))
