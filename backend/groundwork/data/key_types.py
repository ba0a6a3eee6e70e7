"""The values by which a list can be sorted: which of them a cursor may hold, and how they are compared with the column.

A cursor comes from the client. A value that PostgreSQL or the driver cannot take must be refused before it gets there.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, NaiveDatetime
from sqlalchemy import BigInteger, Double, Enum, Numeric, Text, TypeDecorator, bindparam, cast

from groundwork.data.values import INFINITE
from groundwork.text import without_nul

AMBIGUOUS = frozenset({date.min, date.max, *INFINITE, *(each.replace(tzinfo=None) for each in INFINITE)})
"""What the driver returns for infinity, and for the value itself. It sends all of them as infinity."""


def _in_digits(value: Decimal) -> Decimal:
    # PostgreSQL's numbers have 131072 digits before the point, and 16383 after it.
    if value.is_finite() and (value.adjusted() >= 131072 or int(value.as_tuple().exponent) < -16383):  # noqa: PLR2004
        raise ValueError
    return value


class _SentAsText(TypeDecorator[Any]):
    """A date or a moment. The driver would send some of them as infinity."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        return str(value)


_TYPES: dict[type, tuple[Any, Any]] = {
    str: (Annotated[str, AfterValidator(without_nul)], None),
    int: (Annotated[int, Field(ge=-(2**63), lt=2**63)], BigInteger()),
    float: (float, Double()),
    Decimal: (Annotated[Decimal, Field(allow_inf_nan=True), AfterValidator(_in_digits)], Numeric()),
    **{each: (each, None) for each in (bool, UUID)},
}


def key_types(type_: Any) -> tuple[Any, Any]:
    """pydantic's type of the value in a cursor, and the parameter `after_value` that is compared with the column.

    The second one can hold every value that the first one accepts.

    Raises:
        TypeError: a cursor cannot hold values of this type.
    """
    impl: Any = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if isinstance(impl, Enum):
        return impl.enum_class or Literal[*impl.enums], _after_value(type_)
    if impl.python_type in (date, datetime):
        value: Any = date
        if impl.python_type is datetime:
            value = Annotated[datetime, AfterValidator(_in_utc)] if impl.timezone else NaiveDatetime
        return value | Literal["-infinity", "infinity"], cast(_after_value(_SentAsText()), type_)
    if impl.python_type not in _TYPES:
        raise TypeError(
            f"a list cannot be sorted by a column of the type {type_}, whose values a cursor cannot hold:"
            " leave it out of orders"
        )
    value, compared = _TYPES[impl.python_type]
    return value, _after_value(compared if compared and impl is type_ else type_)


def _after_value(type_: Any) -> Any:
    return bindparam("after_value", type_=type_)


def _in_utc(value: datetime) -> datetime:
    # PostgreSQL returns UTC. A time with another offset could lie before the year 1 or after 9999 in UTC.
    if value.utcoffset() != UTC.utcoffset(None):
        raise ValueError
    return value
