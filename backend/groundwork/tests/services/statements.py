"""Every statement of the service, found in its modules, and values to run it with."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from uuid import UUID

from sqlalchemy import inspect

import app.services
from groundwork import ids
from groundwork.data import idempotency_records
from groundwork.data.keyed_insert import key_arguments, keyed_insert
from groundwork.data.statement import Statement
from groundwork.data.versions import PartialUpdate, VersionedStatement
from groundwork.http import health


def _modules() -> Iterator[Any]:
    yield from (health, idempotency_records)
    for module in pkgutil.iter_modules(app.services.__path__, "app.services."):
        yield import_module(module.name)


def _statements(found: Any) -> list[Statement[Any]]:
    match found:
        case Statement():
            keyed = keyed_insert(found)
            return [found, keyed] if keyed else [found]
        case VersionedStatement():
            return [found.always, found.guarded]
        case PartialUpdate():
            columns = frozenset(inspect(found._model).columns.keys()) - {"user_id", "id", "created_at", "updated_at"}
            return [
                statement
                for some in (columns, *(frozenset({column}) for column in columns))
                for statement in _statements(found.writing(some))
            ]
    return []


STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name} {number}": statement
    for module in _modules()
    for name, found in vars(module).items()
    for number, statement in enumerate(_statements(found))
}


def values_of(statement: Statement[Any], *, owner: str, id: UUID, **values: Any) -> dict[str, Any]:
    """The values with which the statement is run, by their names.

    Args:
        id: the id of the row that the statement reads or writes. A row that it creates has a new id.
        values: values that replace or complete the usual ones.
    """
    creates = "INSERT INTO tasks" in statement.sql
    known = {
        **ids.new_row(),
        **({} if creates else {"id": id}),
        "owner": owner,
        "title": "Buy milk",
        "description": None,
        "completed": False,
        "limit": 10,
        "before": ids.LARGEST,
        "any_of": "{2026-01-01T00:00:00+00:00}",
        "none_of": "{}",
        "key": "first",
        "fingerprint": b"",
        "answer": "{}",
        "corrected": "{}",
        "tables": [],
        **key_arguments("another", b"", "{}"),
        **values,
    }
    return {name: known[name] for name in statement.names}
