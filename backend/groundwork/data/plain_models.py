"""Models with plain fields: texts, integers, truth values, ids and times, without constraints of their own.

If each value of a row has exactly the type of its field, pydantic puts the values into such a model unchanged.
`PlainModel` does the same without pydantic, which costs less. Any other value, and any model with other fields, is left
to pydantic.

The functions are generated as source code for each model: a loop over the fields would cost more than it saves.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from types import CodeType
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from asyncpg.pgproto import pgproto
from pydantic import BaseModel
from pydantic_core import core_schema

Model = TypeVar("Model", bound=BaseModel)

# For each type of field: which values pydantic keeps as they are.
_CONDITIONS: Mapping[str, str] = {
    **{name: f"type({{0}}) is {name}" for name in ("str", "int", "bool", "date", "datetime")},
    "uuid": "type({0}) in uuids",
}
# How `ids.Id` writes a UUID: with the same bytes as pydantic.
_UUID_AS_TEXT = core_schema.plain_serializer_function_ser_schema(
    str, info_arg=False, return_schema=core_schema.str_schema(), when_used="json"
)
# The keys of pydantic's schemas that change no value. Any other key could change one.
_MODEL_KEYS = {"type", "cls", "config", "custom_init", "metadata", "ref", "root_model", "schema"}
_CONFIG_KEYS = {"title", "from_attributes"}
_FIELDS_KEYS = {"type", "computed_fields", "fields", "model_name"}
_FIELD_KEYS = {"type", "schema", "metadata", "frozen"}
_NULLABLE_KEYS = {"type", "schema", "metadata"}
_VALUE_KEYS = {"type", "metadata", "microseconds_precision", "serialization"}

_SOURCE = """
def fill(records):
    rows = []
    fields_set = {{*names}}
    for {columns} in records:
        if not ({are_exact}):
            return None
        row = new(model)
        set_dict(row, {{{items}}})
        set_fields_set(row, fields_set)
        set_extra(row, None)
        set_private(row, None)
        rows.append(row)
    return rows

def plain_dicts(rows):
    dicts = []
    for row in rows:
        fields = row.__dict__
        if type(row) is not model or [*fields] != names:
            return None
        {fields} = fields.values()
        if not ({are_exact} and {are_utc}):
            return None
        dicts.append(fields)
    return dicts
"""
# A model's own `__setattr__` takes no part when pydantic fills it.
_NAMES: dict[str, Any] = {
    "zones": (UTC, None),
    "date": date,
    "datetime": datetime,
    "uuids": {UUID, pgproto.UUID},
    "set_dict": BaseModel.__dict__["__dict__"].__set__,
    "set_fields_set": BaseModel.__dict__["__pydantic_fields_set__"].__set__,
    "set_extra": BaseModel.__dict__["__pydantic_extra__"].__set__,
    "set_private": BaseModel.__dict__["__pydantic_private__"].__set__,
}


class PlainModel(Generic[Model]):
    """A model with plain fields only.

    Args:
        model: the model.
        conditions: for each field, in the model's order, the condition that its value is plain.
        columns: the names of the fields in the order of the records.
    """

    def __init__(self, model: type[Model], conditions: Mapping[str, str], columns: Sequence[str]) -> None:
        variables = {name: f"value_{place}" for place, name in enumerate(conditions)}
        # The driver gives times in UTC. An offset with seconds would be rounded by orjson.
        times = [variables[name] for name, condition in conditions.items() if "datetime" in condition]
        source = _SOURCE.format(
            columns="".join(f"{variables[name]}, " for name in columns),
            fields="".join(f"{variable}, " for variable in variables.values()),
            items=", ".join(f"{name!r}: {variable}" for name, variable in variables.items()),
            are_exact=" and ".join(f"({condition.format(variables[name])})" for name, condition in conditions.items()),
            are_utc=" and ".join(["True", *(f"({time} is None or {time}.tzinfo in zones)" for time in times)]),
        )
        made = {**_NAMES, "model": model, "new": model.__new__, "names": [*conditions]}
        exec(_code(source), made)  # noqa: S102 - the names of fields are quoted, and everything else stands in this file
        # A model for each record; None if pydantic must look at one of the values. The models of one call share the set
        # `model_fields_set`. pydantic adds fields to it, and all are in it.
        self.fill: Callable[[Iterable[Iterable[Any]]], list[Model] | None] = made["fill"]
        # The fields of each row; None if one is of another class, or has fields or values that are not plain.
        self.plain_dicts: Callable[[Iterable[Any]], list[dict[str, Any]] | None] = made["plain_dicts"]


@cache
def _code(source: str) -> CodeType:
    """The code of a source. Most statements of a model share one, and compiling takes a millisecond of the start."""
    return compile(source, __file__, "exec")


def plain_model(schema: Any, columns: Sequence[str] | None = None) -> PlainModel[Any] | None:
    """The model that the schema describes; None if it has more than plain fields.

    Args:
        schema: pydantic's core schema. If the model has a validator or a serializer, or contains itself, the outermost
            schema is not that of a model.
        columns: the names of the fields in the order of the records, if that is not the model's.
    """
    # While a model waits for a later definition, its schema is not a dict.
    if not isinstance(schema, dict) or schema["type"] != "model" or not _has_fields_only(schema):
        return None
    conditions = {name: _condition(field) for name, field in schema["schema"]["fields"].items()}
    if not conditions or not all(conditions.values()):
        return None
    return PlainModel(schema["cls"], cast("dict[str, str]", conditions), columns or [*conditions])


def _has_fields_only(model: Mapping[str, Any]) -> bool:
    fields = model["schema"]
    return (
        model.keys() <= _MODEL_KEYS
        and not (model.get("custom_init") or model.get("root_model"))
        and model.get("config", {}).keys() <= _CONFIG_KEYS
        and fields["type"] == "model-fields"
        and fields.keys() <= _FIELDS_KEYS
        and not fields.get("computed_fields")
    )


def _condition(field: Mapping[str, Any]) -> str | None:
    """The condition that a value of the field is plain; None if pydantic may change any value."""
    value = field["schema"]
    if not field.keys() <= _FIELD_KEYS:
        return None
    if value["type"] != "nullable":
        return _condition_of_value(value)
    condition = _condition_of_value(value["schema"]) if value.keys() <= _NULLABLE_KEYS else None
    return condition and f"{{0}} is None or {condition}"


def _condition_of_value(value: Mapping[str, Any]) -> str | None:
    is_written_as_it_is = "serialization" not in value or (
        value["type"] == "uuid" and value["serialization"] == _UUID_AS_TEXT
    )
    return _CONDITIONS.get(value["type"]) if value.keys() <= _VALUE_KEYS and is_written_as_it_is else None
