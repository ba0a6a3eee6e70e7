"""Writes the JSON of models with plain fields with orjson, which is faster than pydantic and gives the same bytes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from pydantic import TypeAdapter

from groundwork.data.plain_models import PlainModel, plain_model

Write = Callable[[Any], bytes]

_LIST_KEYS = {"type", "items_schema", "metadata"}


def json_writer(adapter: TypeAdapter[Any]) -> Write:
    """The function that writes what the adapter has validated, as `adapter.dump_json(…, by_alias=True)` does."""
    by_pydantic = partial(adapter.serializer.to_json, by_alias=True)
    schema: Any = adapter.core_schema
    is_list = adapter.pydantic_complete and schema["type"] == "list" and schema.keys() <= _LIST_KEYS
    plain = plain_model(schema.get("items_schema") if is_list else schema)
    if plain is None:
        return by_pydantic
    return partial(_write_list if is_list else _write_one, plain, by_pydantic)


def _write_list(plain: PlainModel[Any], by_pydantic: Write, rows: list[Any]) -> bytes:
    dicts = plain.plain_dicts(rows)
    return by_pydantic(rows) if dicts is None else _dumped(dicts) or by_pydantic(rows)


def _write_one(plain: PlainModel[Any], by_pydantic: Write, row: Any) -> bytes:
    dicts = plain.plain_dicts((row,))
    return by_pydantic(row) if dicts is None else _dumped(dicts[0]) or by_pydantic(row)


def _dumped(value: Any) -> bytes | None:
    """The JSON; None if orjson refuses an integer of more than 64 bits, or a text with half a surrogate pair."""
    try:
        # orjson calls `str` only for the driver's UUID, a class that it does not know.
        return orjson.dumps(value, str, orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:
        return None
