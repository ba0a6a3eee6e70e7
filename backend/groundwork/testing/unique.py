"""Values for what a table holds only once: each row of the tests gets values of its own.

The table's unique constraints and unique indexes say which columns they are.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from groundwork.data.known_tables import owner_of

Values = Mapping[str, Callable[[int], Any]]
"""For each member the function that makes its n-th value, n = 1, 2, and so on."""

DIGITS = 5
"""How many digits a text gets. No test makes more rows than they can count."""

_numbers = iter(count(1))


def restart() -> None:
    """Let the next row be the first again, as at the beginning of a test."""
    global _numbers  # noqa: PLW0603
    _numbers = iter(count(1))


def next_number() -> int:
    return next(_numbers)


def keys_of(table: sa.Table | None) -> list[list[str]]:
    """For each unique constraint or index of a table: its columns, except the owner's."""
    if table is None:
        return []
    owner = owner_of(table)
    keys = [each.columns for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    indexes = [each.columns for each in table.indexes if each.unique]
    found = [[column.name for column in columns] for columns in (*keys, *indexes)]
    return sorted([name for name in names if owner is None or name != owner.column] for names in found)


def varied(
    table: sa.Table | None, row: Mapping[str, Any], values: Values, optional: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """The row with new values in the columns that must be unique, as far as they can be varied.

    Args:
        values: functions of the resource's entry. They go before.
        optional: samples of further columns. They are used for columns with a default, which only one row can have.
    """
    new = {name: value(number) for name, value in values.items()}
    for name, column in _columns(table):
        if name in new or (name not in row and (column.nullable or name not in optional)):
            continue
        value = _varied(column, row[name] if name in row else optional[name], number)
        if value is not None:
            new[name] = value
    return {**row, **new}


def problem_of(table: sa.Table | None, samples: Mapping[str, Any], values: Values) -> str | None:
    """A sentence about a key of which the tests cannot make two rows; None if there is none."""
    if table is None or values:
        return None
    for key in keys_of(table):
        if any(name in samples and _varied(table.columns[name], samples[name], 1) is not None for name in key):
            continue
        if not key:
            return f"{table.name} holds one row for each owner. The contract needs several: write tests of your own."
        return (
            f"{table.name} holds each value of {', '.join(key)} once, and the tests, which need many rows, cannot vary"
            f' it: say the n-th value in tests/resources.py, as unique={{"{key[0]}": lambda n: …}}'
        )
    return None


def _columns(table: sa.Table | None) -> Iterator[tuple[str, sa.Column[Any]]]:
    for name in sorted({name for key in keys_of(table) for name in key}):
        assert table is not None
        yield name, table.columns[name]


def _varied(column: sa.Column[Any], value: Any, number: int) -> Any:
    """The value with a number added; None if it cannot be varied, such as an enum or the id of another row."""
    if column.foreign_keys or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value + number
    kind = column.type.impl_instance if isinstance(column.type, sa.TypeDecorator) else column.type
    if isinstance(value, str) and not isinstance(kind, sa.Enum):
        for class_, add in _OF_TEXTS.items():
            if isinstance(kind, class_):
                return add(value, number)
        if isinstance(kind, sa.String):
            return _numbered(value, kind.length, number)
    return None


def _numbered(text: str, max_length: int | None, number: int) -> str | None:
    """The text with the number at its end; in an email address, at the end of the name."""
    name, at, host = text.partition("@")
    room = len(name) if max_length is None else max_length - DIGITS - len(at + host)
    return f"{name[:room]}{number:0{DIGITS}}{at}{host}" if room >= 0 else None


_OF_TEXTS: dict[type[Any], Callable[[str, int], str]] = {
    sa.Uuid: lambda text, number: str(UUID(int=UUID(text).int + number)),
    sa.Numeric: lambda text, number: str(Decimal(text) + number),
    sa.Date: lambda text, number: (date.fromisoformat(text) + timedelta(days=number)).isoformat(),
    sa.DateTime: lambda text, number: (
        (datetime.fromisoformat(text) + timedelta(days=number)).isoformat().replace("+00:00", "Z")
    ),
}
"""For each type of a column whose values are texts in JSON: adds a number."""
