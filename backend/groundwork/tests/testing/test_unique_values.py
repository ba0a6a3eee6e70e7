"""The contract of a resource with values that must be unique, and with samples that do not work."""

from enum import StrEnum
from typing import Any

import pytest
import sqlalchemy as sa

from groundwork.data.values import enum_text
from groundwork.testing import unique
from groundwork.tests.testing.test_contract import CONFTEST, advice, failed, run_tests

# Not imported from unique_titles, because that module changes the table of tasks.
NAME, OVER_ALL = "tasks_user_id_title_idx", "tasks_title_idx"
WITH_INDEX = f"""{CONFTEST}

@pytest.fixture(scope="session")
def template_database(postgres_server, template_database):
    postgres_server.execute("CREATE UNIQUE INDEX {NAME} ON tasks (user_id, title COLLATE \\"C\\")", template_database)
    return template_database
"""
MODULE = """
import pytest
from app.core.config import Settings
from groundwork.testing.contract import *
from groundwork.testing.resource import Resource
from groundwork.testing.service import Service
from groundwork.tests.testing import unique_titles
from tests.resources import DIFFERS, RESOURCES


@pytest.fixture(scope="module")
def service_under_test():
    return Service(unique_titles.{service}, Settings)
"""
FOR_ALL = f"""

@pytest.fixture
def database_url(postgres_server, template_database, database_url):
    postgres_server.execute("CREATE UNIQUE INDEX {OVER_ALL} ON tasks (title COLLATE \\"C\\")", template_database)
    yield database_url
    postgres_server.execute("DROP INDEX {OVER_ALL}", template_database)
"""
STALE = """
RESOURCES = [Resource("task", text="title", optional={"description": 7, "completed": True}, filter="completed")]
DIFFERS = {"toggle_task": Differs("It is of no interest here.")}
"""
AT_ONCE = "test_of_those_who_take_a_value_at_once_one_gets_it[tasks]"
TAKEN = "test_a_value_that_is_taken_is_answered_with_409[tasks]"
EACH_USER = "test_each_user_may_have_the_same_value[tasks]"
OF_UNIQUE = (TAKEN, AT_ONCE, EACH_USER)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of one run with all services."""
    modules = {
        "test_keeps.py": MODULE.format(service="keeps"),
        "test_without_conflicts.py": MODULE.format(service="without_conflicts"),
        "test_over_all_users.py": MODULE.format(service="over_all_users"),
        "test_index_over_all.py": MODULE.format(service="keeps") + FOR_ALL,
        "test_stale.py": MODULE.format(service="keeps") + "from groundwork.testing.resource import Differs\n" + STALE,
    }
    chosen = [
        "test_keeps.py",
        *(f"test_{broken}.py::{test}" for broken in ("without_conflicts", "over_all_users") for test in OF_UNIQUE),
        f"test_index_over_all.py::{EACH_USER}",
        "test_stale.py",
    ]
    return run_tests(tmp_path_factory.mktemp("unique"), modules, *chosen, conftest=WITH_INDEX)


def test_a_service_with_unique_values_passes_the_contract_without_an_option(said: str) -> None:
    assert failed(said, "test_keeps") == set(), said
    assert " passed" in said


def test_a_constraint_without_a_sentence_is_told_what_to_write_in_two_tests(said: str) -> None:
    assert failed(said, "test_without_conflicts") == {TAKEN, AT_ONCE}, said
    assert (
        f"create_task answers 500 to a value that is taken ({NAME}): give its statement"
        f' conflicts={{"{NAME}": "There is one with this title already."}}'
    ) in said


def test_a_service_that_looks_at_all_users_is_found(said: str) -> None:
    assert failed(said, "test_over_all_users") == {EACH_USER}, said
    assert "create_task answers 409 to a value that only another user has: look at rows of the owner alone." in said


def test_an_index_over_all_users_is_found(said: str) -> None:
    assert failed(said, "test_index_over_all") == {EACH_USER}, said
    assert f"{OVER_ALL} holds over all users, so its 409 tells a user what another has: begin it with user_id" in said


def test_a_sample_that_is_refused_is_one_failure_in_one_sentence(said: str) -> None:
    [only] = failed(said, "test_stale")
    sentence = (
        "The sample of TASK is refused: description 7: Input should be a valid string. Mend it in tests/resources.py."
    )
    assert sentence in said
    assert "the sample of TASK does not work: the first failure says why" in said
    assert "does not keep it" not in advice(said, f"ERROR at setup of {only}")


class Colour(StrEnum):
    RED = "red"


def column(type_: Any, *more: Any) -> Any:
    """A table with a column that must be unique."""
    metadata = sa.MetaData()
    sa.Table("colours", metadata, sa.Column("id", sa.Uuid(), primary_key=True))
    return sa.Table("others", metadata, sa.Column("user_id", sa.String()), sa.Column("key", type_, *more, unique=True))


@pytest.mark.parametrize(
    ("type_", "sample", "expected"),
    [
        (sa.String(), "New", "New00007"),
        (sa.String(6), "Newer", "N00007"),
        (sa.String(), "ann@example.org", "ann00007@example.org"),
        (sa.String(18), "ann@example.org", "a00007@example.org"),
        (sa.Integer(), 3, 10),
        (sa.Float(), 0.5, 7.5),
        (sa.Numeric(10, 2), "1.50", "8.50"),
        (sa.Date(), "2026-12-28", "2027-01-04"),
        (sa.DateTime(timezone=True), "2026-12-28T10:00:00Z", "2027-01-04T10:00:00Z"),
        (sa.Uuid(), "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c7d", "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c84"),
    ],
)
def test_a_value_of_each_kind_is_varied(type_: Any, sample: Any, expected: Any) -> None:
    table = column(type_)
    assert unique.varied(table, {"key": sample, "other": 1}, {}, {}, 7) == {"key": expected, "other": 1}
    assert unique.problem_of(table, {"key": sample}, {}) is None


@pytest.mark.parametrize(
    ("table", "sample"),
    [
        (column(enum_text(Colour)), "red"),
        (column(sa.Boolean()), True),
        (column(sa.JSON()), {"a": 1}),
        (column(sa.String(4)), "New"),
        (column(sa.Uuid(), sa.ForeignKey("colours.id")), "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c7d"),
    ],
)
def test_for_what_cannot_be_varied_a_function_is_asked_for(table: sa.Table, sample: Any) -> None:
    assert unique.varied(table, {"key": sample}, {}, {}, 7) == {"key": sample}
    sentence = unique.problem_of(table, {"key": sample}, {})
    assert sentence == (
        "others holds each value of key once, and the tests, which need many rows, cannot vary it: say the n-th value"
        ' in tests/resources.py, as unique={"key": lambda n: …}'
    )
    values = {"key": lambda n: f"k{n}"}
    assert unique.problem_of(table, {"key": sample}, values) is None
    assert unique.varied(table, {"key": sample}, values, {}, 7) == {"key": "k7"}


def test_the_columns_come_from_constraints_and_indexes_without_the_owner() -> None:
    table = sa.Table(
        "pages",
        sa.MetaData(),
        sa.Column("user_id", sa.String(), info={"owner": True}),
        sa.Column("slug", sa.String()),
        sa.Column("place", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("note", sa.String()),
        sa.UniqueConstraint("user_id", "place"),
        sa.Index("lower_slug", "user_id", sa.func.lower(sa.column("slug")), unique=True),
        sa.Index("note_index", "note"),
    )
    assert unique.keys_of(table) == [["place"], ["slug"]]
    # A default would be in two rows.
    assert unique.varied(table, {"slug": "a"}, {}, {"place": 5, "note": "x"}, 1) == {"slug": "a00001", "place": 6}
    assert unique.varied(None, {"slug": "a"}, {}, {}, 1) == {"slug": "a"}


def test_a_row_for_each_owner_is_told_to_be_too_few() -> None:
    table = sa.Table("profiles", sa.MetaData(), sa.Column("user_id", sa.String(), unique=True))
    assert "profiles holds one row for each owner" in str(unique.problem_of(table, {}, {}))
