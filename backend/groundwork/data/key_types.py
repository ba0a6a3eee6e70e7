"""The values by which a list can be sorted: which of them a cursor may hold, and how they are compared with the column.

A cursor comes from the client. A value that PostgreSQL or the driver cannot take must be refused before it gets there.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, NaiveDatetime
from sqlalchemy import BigInteger, Double, Enum, Numeric, TypeDecorator

from groundwork.text import without_nul

# More digits than a column can declare. A number of a million digits would take memory to send.
_MAX_DIGITS = 1000


def _in_digits(value: Decimal) -> Decimal:
    # pydantic does not count the digits of a zero, and PostgreSQL refuses a zero with a million decimal places.
    if abs(int(value.as_tuple().exponent)) > _MAX_DIGITS:
        raise ValueError
    return value


_TYPES: dict[type, tuple[Any, Any]] = {
    str: (Annotated[str, AfterValidator(without_nul)], None),
    int: (Annotated[int, Field(ge=-(2**63), lt=2**63)], BigInteger()),
    float: (float, Double()),
    Decimal: (Annotated[Decimal, Field(max_digits=_MAX_DIGITS), AfterValidator(_in_digits)], Numeric()),
    **{each: (each, None) for each in (bool, date, UUID)},
}


def key_types(type_: Any) -> tuple[Any, Any]:
    """Two types: pydantic's for the value in a cursor, and SQLAlchemy's for the parameter compared with the column.

    The second one can hold every value that the first one accepts.

    Raises:
        TypeError: a cursor cannot hold values of this type.
    """
    impl: Any = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if isinstance(impl, Enum):
        return impl.enum_class or Literal[*impl.enums], type_
    if impl.python_type is datetime:
        return Annotated[datetime, AfterValidator(_in_utc)] if impl.timezone else NaiveDatetime, type_
    if impl.python_type not in _TYPES:
        raise TypeError(
            f"a list cannot be sorted by a column of the type {type_}, whose values a cursor cannot hold:"
            " leave it out of orders"
        )
    value, compared = _TYPES[impl.python_type]
    return value, compared if compared and impl is type_ else type_


def _in_utc(value: datetime) -> datetime:
    # PostgreSQL returns UTC. A time with another offset could lie before the year 1 or after 9999 in UTC.
    if value.utcoffset() != UTC.utcoffset(None):
        raise ValueError
    return value
