"""Inserts that take effect once for each idempotency key: one statement claims the key and inserts the row.

The answer is stored with the key, so it has to be known before the row is inserted. It is known if every column that
the insert returns is set from a parameter, and if PostgreSQL returns each value as it was sent.
"""

from datetime import UTC
from functools import cache
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlmodel import AutoString, col

from groundwork.data.idempotency_records import CURRENT, IdempotencyRecord, Kept, claim, removal
from groundwork.data.ownership import OWNER_ID, owned
from groundwork.data.statement import Statement
from groundwork.data.values import INFINITE

_OWN_NAMES = _KEY, _FINGERPRINT, _ANSWER = "kept_key", "kept_fingerprint", "kept_answer"
# PostgreSQL returns values of these types as they were sent. It rounds a number to its scale, and reorders JSON.
# Subclasses do not count, because they may convert values: Enum is a subclass of String.
_TEXTS, _INTEGERS = (AutoString, sa.String, sa.Text), (sa.SmallInteger, sa.Integer, sa.BigInteger)
_EXACT_TYPES = (*_TEXTS, *_INTEGERS, sa.Uuid, sa.Boolean, sa.Date, sa.DateTime)


class KeyedInsert(Statement[Any]):
    """A statement that claims a key, inserts a row if the key was free, and removes a few expired keys.

    It returns the new row, or the record of the first request with the key. It returns no row if it had to wait for
    that request, because a statement sees only what was committed before it began. Run again, it returns the record.
    If a trigger prevents the insert, all columns of the returned row are NULL.

    Args:
        plain: an insert whose row is known beforehand; `keyed_insert` checks that.
    """

    def __init__(self, plain: Statement[Any]) -> None:
        source: Any = plain.source
        super().__init__(_with_key(source), conflicts=plain.conflicts, name=f"{plain.name}_keyed")
        binds = {column: source._values[column] for column in source.exported_columns}
        self._sources = [(column.key, bind.key) for column, bind in binds.items() if bind.required]
        self._fixed = {column.key: bind.value for column, bind in binds.items() if not bind.required}
        self._moments = [column.key for column in binds if isinstance(column.type, sa.DateTime)]
        self.is_exact = True
        """False once the database has returned a row that differs from `predict`, for example because of a trigger."""

    def predict(self, values: dict[str, Any]) -> dict[str, Any] | None:
        """The row that the insert returns for these values. None if that is not certain."""
        row = {column: values[name] for column, name in self._sources}
        if self._fixed:
            row |= self._fixed
        for column in self._moments:
            moment = row[column]
            if moment in INFINITE:
                return None
            if moment and moment.tzinfo is not UTC:
                row[column] = moment.astimezone(UTC)  # the time zone that the driver returns
        return row

    def row(self, record: asyncpg.Record | dict[str, Any]) -> Kept | dict[str, Any]:
        """What the statement returned: the record of the first request, or the row that was inserted."""
        row = dict(record)
        fingerprint, answer = row.pop(_FINGERPRINT), row.pop(_ANSWER)
        return row if fingerprint is None else Kept(fingerprint=fingerprint, answer=answer)


def key_arguments(key: str, fingerprint: bytes, answer: str) -> dict[str, Any]:
    """The parameters that a `KeyedInsert` takes beside those of the plain insert."""
    return {_KEY: key, _FINGERPRINT: fingerprint, _ANSWER: answer}


@cache
def keyed_insert(plain: Statement[Any]) -> KeyedInsert | None:
    """The statement that inserts the same row once for each key. None if the row is not known beforehand."""
    source = plain.source
    if not isinstance(source, sa.Insert) or not source._values:
        return None
    values, returned = dict[Any, Any](source._values), list(source.exported_columns)
    if not returned or not all(_comes_back(column, values.get(column)) for column in returned):
        return None
    if not all(isinstance(value, sa.BindParameter) and value.key not in _OWN_NAMES for value in values.values()):
        return None
    # Anything else in the statement, such as another CTE or ON CONFLICT, would also have to depend on the key.
    if plain.sql != Statement(sa.insert(source.table).values(values).returning(*returned)).sql:
        return None
    return KeyedInsert(plain)


def _comes_back(column: Any, value: Any) -> bool:
    """Whether PostgreSQL returns the value as it was sent."""
    return (
        isinstance(value, sa.BindParameter)
        and type(column.type) in _EXACT_TYPES
        and getattr(column.type, "timezone", True)
        and getattr(column.type, "as_uuid", True)
    )


def _with_key(source: sa.Insert) -> Any:
    key: Any = sa.bindparam(_KEY)
    claim_key = claim(key, sa.bindparam(_FINGERPRINT), sa.bindparam(_ANSWER))
    claimed = claim_key.returning(col(IdempotencyRecord.key)).cte("claimed")
    is_claimed = sa.exists(sa.select(claimed.c.key))

    values: dict[Any, Any] = dict(source._values or {})
    row = sa.select(*(_typed(bind, column) for column, bind in values.items())).select_from(claimed)
    inserting = sa.insert(source.table).from_select([column.key for column in values], row, include_defaults=False)
    created = inserting.returning(*source.exported_columns).cte("created")

    current = owned(IdempotencyRecord), col(IdempotencyRecord.key) == key, CURRENT
    record = sa.select(col(IdempotencyRecord.fingerprint), col(IdempotencyRecord.answer))
    kept = record.where(*current, sa.not_(is_claimed)).subquery("kept")
    inserted = sa.join(claimed, created, sa.true(), isouter=True)
    # At most one of the two has a row. The full join returns it, and needs no condition.
    either = sa.join(inserted, kept, sa.false(), full=True)
    answered = kept.c.fingerprint.label(_FINGERPRINT), kept.c.answer.label(_ANSWER)
    found = sa.select(*created.c, *answered).select_from(either)
    # A record that is claimed again must not be removed by the same statement.
    cleaned = removal(col(IdempotencyRecord.key) != key).where(is_claimed).cte("cleaned")
    return found.add_cte(cleaned)


def _typed(bind: sa.BindParameter[Any], column: sa.Column[Any]) -> sa.BindParameter[Any]:
    """The parameter with the column's type. An INSERT would give it this type; a SELECT does not."""
    if bind is OWNER_ID:
        return bind
    return sa.bindparam(bind.key, bind.value, type_=column.type, required=bind.required)
