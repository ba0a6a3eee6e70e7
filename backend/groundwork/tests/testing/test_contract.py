"""The contract finds broken promises, says what to do, and leaves out what DIFFERS lists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from groundwork.testing import postgres
from groundwork.testing.contract import migrations
from groundwork.testing.contract.coverage import Documented, way_to_cover
from groundwork.testing.parametrize import table_of
from groundwork.testing.resource import PROMISES, Differs, Resource
from groundwork.tests import BACKEND
from groundwork.tests.testing.broken import BREAKS, FAILS, UNCOVERED

CONFTEST = """
import pytest
from app.core.config import Settings
from groundwork.testing.service import Service
from groundwork.tests.testing.broken import create_app

pytest_plugins = ["groundwork.testing.plugin"]

# One database for all tests, because copying it for each would take most of the time.
EMPTY = '''
    DO $$ BEGIN
        EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ')
                 FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version');
    END $$
'''


@pytest.fixture(scope="session")
def service_under_test():
    return Service(create_app, Settings)


@pytest.fixture
def database_url(postgres_server, template_database):
    yield postgres_server.url(template_database)
    postgres_server.execute(EMPTY, template_database)
"""
BROKEN = """
from groundwork.testing.contract import *
from groundwork.testing.resource import Differs
from tests.resources import RESOURCES

DIFFERS = {differs!r}
"""
WITHOUT_TAG = """
import pytest
from fastapi import Response
from app.core.config import Settings
from app.main import create_app
from app.routes import tasks
from groundwork.http.conditional import not_modified_or
from groundwork.testing.contract.conditional import *
from groundwork.testing.contract.members import *
from groundwork.testing.service import Service
from tests.resources import DIFFERS, RESOURCES


@pytest.fixture(scope="module")
def service_under_test():
    return Service(create_app, Settings)


@pytest.fixture(autouse=True)
def get_forgets_its_tag(monkeypatch):
    monkeypatch.setattr(tasks, "not_modified_or", lambda response, *rest: not_modified_or(Response(), *rest))
"""
INI = """
[pytest]
addopts = --strict-markers -ra
filterwarnings = error
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
"""
# Leaves out the tests that do not depend on the application's routes.
LEFT_OUT = "not same_schema and not nothing_to_migrate and not last_constraint and not one_way and not no_lock"
# The entries that exempt each broken operation from the promises that it breaks.
DIFFERS = {
    **{
        operation: Differs(
            f"{operation} is meant so.", [name for name, broken in BREAKS.items() if broken == operation]
        )
        for operation in BREAKS.values()
    },
    **{operation: Differs("It does nothing.") for operation in UNCOVERED},
}
FAILS_WITHOUT_TAG = {
    "test_an_operation_takes_effect_in_the_wanted_version_only[get_task]",
    "test_what_a_client_has_is_not_sent_again[tasks]",
    "test_create_and_get_answer_the_same_tag[tasks]",
    "test_a_change_gives_a_new_tag[tasks]",
}


def run_tests(folder: Path, modules: dict[str, str], *selection: str, conftest: str = CONFTEST) -> str:
    """Run test modules, on the broken service unless they or the conftest name another. Returns pytest's output."""
    shutil.copytree(BACKEND / "migrations", folder / "migrations")
    shutil.copy(BACKEND / "alembic.ini", folder)
    (folder / "conftest.py").write_text(conftest)
    (folder / "pytest.ini").write_text(INI)
    for name, text in modules.items():
        (folder / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", "-k", LEFT_OUT, *selection],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(BACKEND)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of one run: for all broken promises, for the same with entries in DIFFERS, and for a forgotten tag."""
    return run_tests(
        tmp_path_factory.mktemp("broken"),
        {
            "test_contract.py": BROKEN.format(differs={}),
            "test_differs.py": BROKEN.format(differs=DIFFERS),
            "test_without_tag.py": WITHOUT_TAG,
        },
        "test_contract.py",
        *(f"test_differs.py::{name}" for name in FAILS),
        "test_without_tag.py",
    )


def failed(said: str, module: str) -> set[str]:
    return set(re.findall(rf"(?m)^(?:FAILED|ERROR) {module}\.py::(\S+)", said))


def advice(said: str, test: str) -> str:
    """The text below the title of a failed test."""
    below = re.split(rf"(?m)^_+ {re.escape(test)} _+$", said)[-1]
    return re.split(r"(?m)^(?:___|===)", below)[0]


def test_each_broken_promise_fails_its_tests_and_no_others_and_the_failure_says_what_to_do(said: str) -> None:
    assert failed(said, "test_contract") == FAILS, said
    for promise, operation in BREAKS.items():
        if promise != "document":
            assert f"{promise}: {PROMISES[promise]}." in said
            assert f'"{operation}": Differs("the reason", from_=["{promise}"]),' in said
    assert "without_description" not in said
    assert "get_task is not described: give its function a docstring" in said
    # pytest rewrites the assertions, so it shows the compared values.
    assert re.search(r"(?m)^E +assert ", said), said


def test_one_failure_names_all_operations_without_a_case_and_what_to_write_for_each(said: str) -> None:
    found = advice(said, "test_every_operation_on_a_users_data_has_a_case")
    for operation, says in UNCOVERED.items():
        assert f"{operation} {says}\n" in found
    assert "Differs" in found.split("say so there, in DIFFERS: ")[1]


def test_an_entry_takes_an_operation_out_of_its_promises_and_says_why(said: str) -> None:
    assert failed(said, "test_differs") == set(), said
    for operation in BREAKS.values():
        assert f"{operation} differs: {operation} is meant so." in said


def test_a_forgotten_tag_is_told_in_a_sentence_and_blamed_on_its_operation_alone(said: str) -> None:
    assert failed(said, "test_without_tag") == FAILS_WITHOUT_TAG, said
    for test in FAILS_WITHOUT_TAG - FAILS:
        found = advice(said, test)
        assert "get_task answers 200 without an ETag: let its route return not_modified_or(response, …, " in found
        assert "\nget_task does not keep it." in found
        assert '"get_task": Differs(' in found
    assert "KeyError" not in said


DOCUMENTED = {
    "read_task": (Documented("read_task", "GET", "/api/{user_id}/tasks/{task_id}", False), "to get_task."),
    "more of a list": (
        Documented("find_tasks", "GET", "/api/{user_id}/tasks", False),
        'more_on_all={"find_tasks": lambda client, own: client.get(own)}',
    ),
    "a removal with a body": (
        Documented("empty_task", "DELETE", "/api/{user_id}/tasks/{task_id}/parts/{part_id}", True),
        'more={"empty_task": lambda client, one: client.request("DELETE", f"{one}/parts/…", json={…})}',
    ),
}


@pytest.mark.parametrize(("operation", "says"), DOCUMENTED.values(), ids=DOCUMENTED)
def test_what_to_write_follows_from_method_and_path(operation: Documented, says: str) -> None:
    assert says in way_to_cover(operation, [Resource("task")], ["get_task"])


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown promise": (
        {"DIFFERS": {"list_tasks": Differs("A reason.", ["pagging"])}},
        "names 'pagging', which is no promise; choose from: ownership, statements,",
    ),
    "no reason": ({"DIFFERS": {"list_tasks": Differs(" ")}}, "gives no reason: say in a sentence why it differs"),
    "no promises": ({"DIFFERS": {"list_tasks": Differs("A reason.", [])}}, "must be a list of promises"),
    "a promise that is no list": (
        {"DIFFERS": {"list_tasks": Differs("A reason.", "conditional requests")}},
        "DIFFERS: from_ in the entry of list_tasks must be a list of promises, as in from_=['conditional requests'];",
    ),
    "a text as an entry": (
        {"DIFFERS": {"list_tasks": "It is meant so."}},
        "DIFFERS: the entry of list_tasks is 'It is meant so.': write \"list_tasks\": Differs('It is meant so.').",
    ),
    "a list of entries": (
        {"DIFFERS": ["list_tasks"]},
        'must be a dictionary, as in {"get_task": Differs("the reason")}',
    ),
    "one resource": (
        {"RESOURCES": Resource("task")},
        'RESOURCES must be a list, as in [Resource("task", text="title")]',
    ),
    "a text as a resource": (
        {"RESOURCES": ["task"]},
        "RESOURCES has 'task', which is no Resource: write it as Resource(",
    ),
}


@pytest.mark.parametrize(("table", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_table_that_makes_no_sense_is_told_what_to_write(table: dict[str, Any], says: str) -> None:
    module = ModuleType("tests.test_contract")
    module.__dict__.update({"RESOURCES": [], "DIFFERS": {}, **table})
    with pytest.raises(pytest.UsageError, match=re.escape(says)):
        table_of(module)


def test_a_module_without_a_table_is_told_so() -> None:
    with pytest.raises(pytest.UsageError, match=r"import RESOURCES and DIFFERS from tests\.resources"):
        table_of(ModuleType("tests.test_contract"))


async def test_a_missing_migration_is_told_by_the_command_that_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("check fails:\nNew upgrade operations detected: [[('modify_type', …)]]")

    monkeypatch.setattr(postgres, "alembic", fail)
    with pytest.raises(pytest.fail.Exception, match='make migration NAME="…" writes what is missing'):
        await migrations.test_alembic_finds_nothing_to_migrate(Path(), "")


def test_a_run_with_such_a_table_ends_with_the_sentences_and_nothing_else(tmp_path: Path) -> None:
    differs = {"get_task": Differs("A reason.", "paging"), "list_tasks": "It is meant so."}
    said = run_tests(tmp_path, {"test_contract.py": BROKEN.format(differs=differs)})
    sentences = [line for line in said.splitlines() if line and not re.match(r"\d+ deselected|no tests ran", line)]
    assert [line[:55] for line in sentences] == [
        "ERROR: DIFFERS: from_ in the entry of get_task must be ",
        "ERROR: DIFFERS: the entry of list_tasks is 'It is meant",
    ], said
