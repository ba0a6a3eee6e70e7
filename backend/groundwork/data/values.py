"""Strict types for request bodies: each type has one form in JSON, and PostgreSQL can store every accepted value.

pydantic has two modes, and neither fits JSON. In strict mode it refuses a date, which JSON can only write as text. In
lax mode it takes "5" for a number, and a number for a date. `as_json` changes a schema so that each type accepts its
one form. An accepted value fits the type's column, and is read back equal. `docs/values.md` lists the forms.
"""

import enum
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema
from sqlalchemy import Enum

from groundwork.text import without_nul

# The driver sends these moments as infinity, and returns infinity without a time zone.
INFINITE = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))

_MANY_DIGITS = 100
_BIGINT = {"ge": -(2**63), "le": 2**63 - 1}
_DATE = r"^\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d:\d\d(\.\d{1,6})?"
# pydantic writes 400 days as P1Y35D. Months are refused, because they differ in length.
_DURATION = r"^[-+]?P(?=.)(\d+Y)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d{1,6})?S)?)?$"
# pydantic takes a list for these only if it is not strict. Their items stay strict.
_LAX = ("set", "frozenset", "tuple")
_AROUND = (*_LAX, "list", "dict", "nullable", "default", "union", "function-after", "function-before", "function-wrap")
_PARTS = ("schema", "items_schema", "keys_schema", "values_schema", "choices")
_MODELS = ("model", "dataclass", "typed-dict")
_after = core_schema.no_info_after_validator_function
_before: Callable[..., Any] = core_schema.no_info_before_validator_function


class JSONForm:
    """Takes a type in its JSON form only, as a request body does: `Annotated[datetime, JSONForm()]` in a query."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return as_json(handler(source), handler)


def as_json(schema: Any, handler: GetCoreSchemaHandler, base: type[BaseModel] | None = None) -> Any:
    """The schema of a value that comes from JSON. A part that sets `strict` itself stays as it is.

    Args:
        schema: pydantic's core schema, or a list of them.
        base: the class from which the models in the value must be derived. None allows all.

    Raises:
        TypeError: a model in it is not derived from the base.
    """
    if isinstance(schema, list | tuple):  # a tuple is a choice of a union, with its label
        return type(schema)(as_json(each, handler, base) for each in schema)
    if not isinstance(schema, dict) or _refuses_nul(schema):
        return schema
    kind = schema["type"]
    if kind == "definition-ref" or kind in _MODELS:
        return _named(schema, handler, base)
    if "strict" not in schema and kind in _CHANGES:
        return _CHANGES[kind](schema)
    if "strict" not in schema and kind in _AROUND:
        lax = {"strict": False} if kind in _LAX else {}
        return {**schema, **lax, **{part: as_json(schema[part], handler, base) for part in _PARTS if part in schema}}
    return schema if kind in _WITHOUT_TEXT else _before(_storable, schema)


def _named(reference: Any, handler: GetCoreSchemaHandler, base: type[BaseModel] | None) -> Any:
    try:
        schema: Any = handler.resolve_ref_schema(reference)
    except LookupError:  # a model that contains itself
        return reference
    if schema["type"] in _MODELS:
        if base and not issubclass(schema["cls"], base):
            name = schema["cls"].__name__
            raise TypeError(f"{name} is part of a request's body: derive it from {base.__name__}, to be strict too")
        return reference
    return _enum(schema, reference) if schema["type"] == "enum" else _before(_storable, reference)


def _refuses_nul(schema: Any) -> bool:
    return schema.get("type") == "function-after" and schema["function"]["function"] is without_nul


def _text(class_: type, pattern: str, example: str, schema: Any, **options: Any) -> Any:
    """Takes a text that matches the pattern, or a value of the class."""
    matches = re.compile(pattern, re.ASCII).search

    def check(value: Any) -> Any:
        if isinstance(value, class_) or (isinstance(value, str) and matches(value) and not value.endswith("\n")):
            return value
        kind: Any = f"{schema['type']}_text"  # pydantic's types want literals
        sentence: Any = f"Input should be a text such as {example}"
        raise PydanticCustomError(kind, sentence)

    lax: Any = {**schema, "strict": False}
    return _before(check, lax, **options)


def _decimal(schema: Any) -> Any:
    """Takes at most the column's digits, as text. A JSON number could lose some: many programs read it as a double."""
    places = schema.get("decimal_places", schema.get("max_digits", _MANY_DIGITS))
    whole = max(schema.get("max_digits", _MANY_DIGITS + places) - places, 1)
    pattern = rf"^-?\d{{1,{whole}}}" + (rf"(\.\d{{1,{places}}})?$" if places else "$")
    shown = core_schema.str_schema(pattern=pattern)
    # The same form in bodies and answers. Otherwise FastAPI makes two schemas of a model that is in both.
    written = core_schema.plain_serializer_function_ser_schema(str, return_schema=shown, when_used="json")
    return _text(Decimal, pattern, '"12.50"', schema, json_schema_input_schema=shown, serialization=written)


def _datetime(schema: Any) -> Any:
    is_naive = schema.get("tz_constraint") == "naive"
    zone, z = ("", "") if is_naive else (r"([Zz]|[-+]\d\d:\d\d)", "Z")
    text = _text(datetime, rf"{_DATE}[Tt]{_TIME}{zone}$", f"2026-11-23T17:39:08{z}", schema)
    return text if is_naive else _after(_in_utc, text)


def _in_utc(value: datetime) -> datetime:
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = INFINITE[0]
    if moment in INFINITE:
        raise PydanticCustomError("datetime_range", "Input should be between the years 1 and 9999 in UTC")
    return moment


def _int(schema: Any) -> Any:
    bounds = {name: bound for name, bound in _BIGINT.items() if not {name, f"{name[0]}t"} & schema.keys()}
    return {**schema, **bounds}


def _enum(schema: Any, whole: Any = None) -> Any:
    members = {(type(each.value), each.value): each for each in schema["members"]}
    values = ", ".join(repr(each.value) for each in schema["members"])

    def member(value: Any) -> Any:
        if isinstance(value, schema["cls"]):
            return value
        if isinstance(value, str | int | float) and (type(value), value) in members:
            return members[type(value), value]
        raise PydanticCustomError("enum", "Input should be one of {values}", {"values": values})

    return _before(member, whole or schema)


def _storable(value: Any) -> Any:
    """Takes any JSON except what PostgreSQL cannot hold: NUL in texts and keys, and numbers beyond a double's range."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            without_nul(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise PydanticCustomError("finite_number", "Input should hold finite numbers")
        elif isinstance(item, dict | list):
            pending += [*item, *item.values()] if isinstance(item, dict) else item
    return value


_CHANGES: Mapping[str, Callable[[Any], Any]] = {
    "str": partial(_after, without_nul),
    "json": partial(_after, _storable),
    "int": _int,
    "float": lambda schema: {"allow_inf_nan": False, **schema},
    "decimal": _decimal,
    "date": partial(_text, date, f"{_DATE}$", "2026-11-23"),
    "datetime": _datetime,
    "time": partial(_text, time, f"^{_TIME}$", "17:39:08"),
    "timedelta": partial(_text, timedelta, _DURATION, "P1DT2H"),
    "uuid": lambda schema: {**schema, "strict": False},
    "enum": _enum,
}
_WITHOUT_TEXT = {*_CHANGES, "bool", "none", "literal"} - {"str", "json"}


def enum_text(class_: type[enum.Enum], *, native: bool = False) -> Enum:
    """The type of a column that holds an enumeration by its values: `sa_type=enum_text(Colour)`.

    It is text with a CHECK that lists the values. One statement changes the list, and the driver knows the type.

    Args:
        native: use an enumeration type of PostgreSQL instead. No value can be removed from one, and the driver looks
            it up on each new connection.
    """

    return Enum(class_, values_callable=_values, native_enum=native, create_constraint=True, length=255)


def _values(members: Any) -> list[str]:
    return [each.value for each in members]
