"""The JSON form of each type of a body, and what of it PostgreSQL can store.

pydantic is strict with Python's types or not at all: strict, it refuses the text of a date, and otherwise it takes "5"
for a number and a number for a date. `as_json` is strict with JSON: each type has one form. What is accepted can be
stored in the type's column, and is read back equal. `docs/values.md` has the forms.
"""

import enum
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema
from sqlalchemy import Enum

from groundwork.text import without_nul

# The driver sends these moments as infinity, and returns infinity without a time zone.
INFINITE = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))

_MANY_DIGITS = 100
_LENGTH_OF_ENUM = 255
_BIGINT = range(-(2**63), 2**63)

_TIME = r"\d\d:\d\d:\d\d(\.\d{1,6})?"
# For each type of schema: its class, the form of its text, and an example.
_TEXTS: Mapping[str, tuple[type, str, str]] = {
    "date": (date, r"^\d{4}-\d\d-\d\d$", "2026-11-23"),
    "time": (time, rf"^{_TIME}$", "17:39:08"),
    # pydantic writes 400 days as P1Y35D. A month has no length of its own.
    "timedelta": (timedelta, r"^[-+]?P(?=.)(\d+Y)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d{1,6})?S)?)?$", "P1DT2H"),
}
_MOMENT = rf"^\d{{4}}-\d\d-\d\d[Tt]{_TIME}"
# pydantic takes these from a list or a text only if it is not strict.
_LAX = ("set", "frozenset", "tuple", "uuid")
_PARTS = ("schema", "items_schema", "keys_schema", "values_schema", "choices")
_MODELS = ("model", "dataclass", "typed-dict")


class JSONForm:
    """Takes a type in its JSON form only, as a request body does: `Annotated[datetime, JSONForm()]` in a query."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return as_json(handler(source), handler)


def as_json(schema: Any, handler: GetCoreSchemaHandler, base: type[BaseModel] | None = None) -> Any:
    """The schema of a value that comes from JSON. A part that says whether it is strict stays as it is.

    Args:
        schema: pydantic's core schema.
        base: the class from which the models in the value must be derived. None allows all.

    Raises:
        TypeError: a model in it is not derived from the base.
    """
    kind = schema.get("type")
    if kind == "definition-ref":
        return _referred(schema, handler, base)
    if kind in _MODELS:
        _require(base, schema)
        return schema
    if "strict" in schema or _refuses_nul(schema):
        return schema
    if change := _CHANGES.get(kind):
        return change(schema)
    lax = {"strict": False} if kind in _LAX else {}
    return {**schema, **lax, **{part: _part(schema[part], handler, base) for part in _PARTS if part in schema}}


def _part(part: Any, handler: GetCoreSchemaHandler, base: type[BaseModel] | None) -> Any:
    if isinstance(part, list):
        return [_part(each, handler, base) for each in part]
    if isinstance(part, tuple):  # a choice of a union, with its label
        return as_json(part[0], handler, base), *part[1:]
    return as_json(part, handler, base)


def _referred(reference: Any, handler: GetCoreSchemaHandler, base: type[BaseModel] | None) -> Any:
    try:
        schema: Any = handler.resolve_ref_schema(reference)
    except LookupError:  # a model that contains itself
        return reference
    if schema["type"] == "enum":
        return _enum(schema, reference)
    if schema["type"] in _MODELS:
        _require(base, schema)
        return reference
    return core_schema.no_info_after_validator_function(_storable, reference)


def _require(base: type[BaseModel] | None, schema: Any) -> None:
    if base and not issubclass(schema["cls"], base):
        name = schema["cls"].__name__
        raise TypeError(f"{name} is part of a request's body: derive it from {base.__name__}, so that it is strict too")


def _refuses_nul(schema: Any) -> bool:
    return schema.get("type") == "function-after" and schema["function"]["function"] is without_nul


def _from_text(schema: Any, class_: type, pattern: str, example: str, shown: Any = None) -> Any:
    """Takes a text of the pattern, and the class's own values."""
    matches = re.compile(pattern, re.ASCII).search

    def check(value: Any) -> Any:
        if isinstance(value, class_) or (isinstance(value, str) and matches(value) and not value.endswith("\n")):
            return value
        raise PydanticCustomError(f"{schema['type']}_text", f"Input should be a text such as {example}")

    lax: Any = {**schema, "strict": False}
    return core_schema.no_info_before_validator_function(check, lax, json_schema_input_schema=shown)


def _text(schema: Any) -> Any:
    return _from_text(schema, *_TEXTS[schema["type"]])


def _decimal(schema: Any) -> Any:
    """As many digits as the column has. A JSON number would have lost digits: many programs read it as a double."""
    places = schema.get("decimal_places", schema.get("max_digits", _MANY_DIGITS))
    whole = max(schema.get("max_digits", _MANY_DIGITS + places) - places, 1)
    pattern = rf"^-?\d{{1,{whole}}}" + (rf"(\.\d{{1,{places}}})?$" if places else "$")
    return _from_text(schema, Decimal, pattern, '"12.50"', core_schema.str_schema(pattern=pattern))


def _datetime(schema: Any) -> Any:
    schema = {"tz_constraint": "aware", **schema}
    if schema["tz_constraint"] == "naive":
        return _from_text(schema, datetime, f"{_MOMENT}$", "2026-11-23T17:39:08")
    moment = _from_text(schema, datetime, rf"{_MOMENT}([Zz]|[-+]\d\d:\d\d)$", "2026-11-23T17:39:08Z")
    return core_schema.no_info_after_validator_function(_in_utc, moment)


def _in_utc(value: datetime) -> datetime:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = INFINITE[0]
    if moment in INFINITE:
        raise PydanticCustomError("datetime_range", "Input should be between the years 1 and 9999 in UTC")
    return moment


def _int(schema: Any) -> Any:
    low = {} if schema.keys() & {"ge", "gt"} else {"ge": _BIGINT[0]}
    high = {} if schema.keys() & {"le", "lt"} else {"le": _BIGINT[-1]}
    return {**schema, **low, **high}


def _enum(schema: Any, whole: Any = None) -> Any:
    members = {(type(each.value), each.value): each for each in schema["members"]}
    values = ", ".join(repr(each.value) for each in schema["members"])

    def member(value: Any) -> Any:
        if isinstance(value, schema["cls"]):
            return value
        if isinstance(value, str | int | float) and (type(value), value) in members:
            return members[type(value), value]
        raise PydanticCustomError("enum", "Input should be one of {values}", {"values": values})

    return core_schema.no_info_before_validator_function(member, whole or schema)


def _storable(value: Any) -> Any:
    """Free JSON, without what JSONB cannot hold: NUL in texts and keys, and numbers beyond a double's range."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            without_nul(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("finite_number", "Input should hold finite numbers")
        elif isinstance(item, dict):
            pending += [*item, *item.values()]
        elif isinstance(item, list):
            pending += item
    return value


_CHANGES: Mapping[Any, Callable[[Any], Any]] = {
    **dict.fromkeys(_TEXTS, _text),
    "decimal": _decimal,
    "datetime": _datetime,
    "int": _int,
    "float": lambda schema: {"allow_inf_nan": False, **schema},
    "enum": _enum,
    "str": lambda schema: core_schema.no_info_after_validator_function(without_nul, schema),
    "any": lambda schema: core_schema.no_info_after_validator_function(_storable, schema),
}


def enum_text(class_: type[enum.Enum], *, native: bool = False) -> Enum:
    """The type of a column that holds an enumeration by its values: `sa_type=enum_text(Colour)`.

    It is text with a CHECK that lists the values. One statement changes the list, and the driver knows the type.

    Args:
        native: whether it is an enumeration of PostgreSQL's instead. A value cannot be removed from one, and the driver
            looks it up on each new connection.
    """

    def values(members: Any) -> list[str]:
        return [each.value for each in members]

    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_.__name__).lower()
    length = {} if native else {"length": _LENGTH_OF_ENUM}
    return Enum(class_, name=name, values_callable=values, native_enum=native, create_constraint=not native, **length)
