"""The names of statements in metrics and in the log."""

import logging
import subprocess
import sys
from typing import Any

import pytest
from sqlmodel import col, select

from app.models.task import Task
from app.schemas.task import TaskRead
from app.services import tasks
from groundwork.data.idempotency_records import CLAIM
from groundwork.data.keyed_insert import keyed_insert
from groundwork.data.listing import Listing
from groundwork.data.ownership import owned
from groundwork.data.statement import Statement
from groundwork.observe.slow_statements import SlowStatements, slow_statements
from groundwork.serve.application import Application

_MINE = select(Task).where(owned(Task))


def _made() -> Statement[TaskRead]:
    return Statement(_MINE, returns=TaskRead)


_PLAIN: Statement[TaskRead] = Statement(_MINE, returns=TaskRead)
_BY_KEY = {"one": Statement(_MINE, returns=TaskRead), "two": Statement(_MINE, returns=TaskRead)}
(_IN_A_LIST,) = [Statement(_MINE, returns=TaskRead) for _ in range(1)]
_LISTING = Listing(_MINE, TaskRead, orders=[col(Task.title)], filters=[])
_NAMED = Statement(_MINE, returns=TaskRead, name="mine")


class _Holder:
    MINE = Statement(_MINE, returns=TaskRead)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (tasks._LIST, "tasks.list"),
        (tasks._TOGGLE.always, "tasks.toggle"),
        (tasks._TOGGLE.guarded, "tasks.toggle"),
        (tasks._UPDATE.writing(frozenset({"title"})).always, "tasks.update"),
        (keyed_insert(tasks._CREATE), "tasks.create_keyed"),
        (CLAIM, "idempotency_records.claim"),
        (_PLAIN, "test_statement_names.plain"),
        (_PLAIN.as_text("FETCH 1 FROM x"), "test_statement_names.plain"),
        (_BY_KEY["two"], "test_statement_names.by_key"),
        (_Holder.MINE, "test_statement_names.mine"),
        (_made(), "test_statement_names.made"),
        (_NAMED, "mine"),
        (_LISTING._page("id", None, frozenset()), "test_statement_names.listing"),
        (_LISTING._page("title", 0, frozenset()), "test_statement_names.listing"),
        (_LISTING._total(frozenset()), "test_statement_names.listing_total"),
    ],
)
def test_a_statement_is_named_after_its_variable(statement: Any, name: str) -> None:
    assert statement.name == name


def test_one_in_a_comprehension_is_not_named_after_the_comprehension() -> None:
    assert "<" not in _IN_A_LIST.name
    assert _IN_A_LIST.name.startswith("test_statement_names.")


@pytest.mark.parametrize(
    ("result", "rows"), [([1, 2], 2), ([], 0), (object(), 1), (None, 0), ("UPDATE 3", 3), ("BEGIN", 0)]
)
def test_a_line_says_how_many_rows(caplog: pytest.LogCaptureFixture, result: Any, rows: int) -> None:
    SlowStatements().report("tasks.list", 1.2345, result)
    (record,) = caplog.records
    assert (record.levelno, vars(record)["rows"], vars(record)["seconds"]) == (logging.WARNING, rows, 1.234)
    assert "route" not in vars(record)


async def test_statements_of_a_transaction_are_named_too(
    app: Application, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_statements, "limit_seconds", 0)
    async with app.database.transaction() as transaction:
        await transaction.all(_PLAIN, owner="alice")
    names = [vars(record)["statement"] for record in caplog.records if record.message == "slow statement"]
    assert names == ["BEGIN", "test_statement_names.plain", "COMMIT"]


def test_a_script_names_its_statements_too() -> None:
    """No frame called the script's own."""
    script = "from groundwork.data.statement_names import origin\nmade = origin()\nprint(made.name())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "__main__.made\n"
