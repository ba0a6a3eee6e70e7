"""Which columns can hold the values of a body's members.

The driver refuses a value of another class, and the client gets 500.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    EmailStr,
    FutureDate,
    FutureDatetime,
    IPvAnyAddress,
    IPvAnyInterface,
    IPvAnyNetwork,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    PlainValidator,
    WrapValidator,
)

from groundwork.http.protected_routes import functions_of
from groundwork.text import without_nul

_NUMBERS = (int, float, Decimal)
_LISTS = (list, tuple, set, frozenset)
_TAKEN: dict[Any, Any] = {
    str: str,
    bool: int,
    **dict.fromkeys(_NUMBERS, _NUMBERS),
    date: date,
    datetime: date,
    time: time,
    timedelta: timedelta,
    UUID: UUID,
    bytes: bytes,
    list: _LISTS,
}
"""The classes whose values the driver writes to a column, by the Python type of the column."""
_PLAIN: dict[Any, Any] = {
    EmailStr: str,
    PastDate: date,
    FutureDate: date,
    **dict.fromkeys((AwareDatetime, FutureDatetime, PastDatetime), datetime),
    **dict.fromkeys((IPvAnyAddress, IPvAnyInterface, IPvAnyNetwork), IPv4Address),
}
"""pydantic's types whose values are of another class."""
_KNOWN = (
    *(str, *_NUMBERS, date, time, timedelta, UUID, bytes, dict, *_LISTS, Enum, BaseModel),
    *(PurePath, IPv4Address, IPv6Address),
)
_VALIDATORS = (AfterValidator, PlainValidator, WrapValidator)


def unfit_members(app: FastAPI, operation: str, table: sa.Table) -> list[str]:
    """What to write for each member of an operation's body that the column of its name cannot hold, as sentences."""
    return [
        sentence
        for model in _bodies(app, operation)
        for member, field in model.model_fields.items()
        if member in table.columns and member not in _validated(model)
        if (sentence := _unfit(model, member, field.rebuild_annotation(), table.columns[member]))
    ]


def _bodies(app: FastAPI, operation: str) -> Iterator[type[BaseModel]]:
    for context in iter_route_contexts(app.routes):
        if getattr(context, "name", None) == operation:
            for function in functions_of(getattr(context, "dependant", None)):
                for parameter in function.body_params:
                    kinds = [kind for kind, _ in _kinds(parameter.field_info.annotation)]
                    yield from (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def _validated(model: type[BaseModel]) -> set[str]:
    """The members for which the model has a function of its own. Only the function knows what it returns."""
    return {name for each in model.__pydantic_decorators__.field_validators.values() for name in each.info.fields}


def _kinds(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The classes of the annotation's values, each with the annotations of its items."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if not any(isinstance(each, _VALIDATORS) and each.func is not without_nul for each in parts[1:]):
            yield from _kinds(parts[0])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from _kinds(part)
    elif origin is Literal:
        yield from ((type(each), ()) for each in parts)
    else:
        yield _PLAIN.get(annotation, origin or annotation), parts


def _unfit(model: type[BaseModel], member: str, annotation: Any, column: sa.Column[Any]) -> str | None:
    """What to write for the member, as a sentence; None if the column can hold its values."""
    misfit = _misfit(annotation, column.type)
    if misfit is None:
        return None
    name = _shown(annotation, misfit.kind)
    return (
        f"{model.__name__}.{member}: the column {column}, which is {column.type!r}, cannot hold {name}: write"
        f" {_remedy(name, *misfit)}"
    )


class _Misfit(NamedTuple):
    kind: Any
    type_: Any
    """The type of the column, or of its items."""


def _misfit(annotation: Any, type_: Any) -> _Misfit | None:
    """The first class of the annotation whose values a column of the type cannot hold; None if it can hold all."""
    for kind, items in _kinds(annotation):
        if not _fits(kind, type_):
            return _Misfit(kind, type_)
        if isinstance(type_, sa.ARRAY) and isinstance(kind, type) and issubclass(kind, _LISTS):
            for item in items:
                if item is not ... and (misfit := _misfit(item, type_.item_type)):
                    return misfit
    return None


def _fits(kind: Any, type_: Any) -> bool:
    if kind is NaiveDatetime:
        return isinstance(type_, sa.DateTime | sa.JSON)
    if not isinstance(kind, type) or kind is NoneType:
        return True
    if isinstance(type_, sa.JSON):  # it has the form that pydantic writes, which is asterisks for a secret
        return not _is_secret(kind)
    if isinstance(type_, sa.Enum):
        return issubclass(kind, type_.enum_class or str) or issubclass(kind, str)
    if isinstance(type_, sa.Date | sa.DateTime) and issubclass(kind, datetime):
        return getattr(type_, "timezone", False)  # a body's datetime has an offset, and a date has no time
    return _is_taken(kind, type_)


def _is_taken(kind: type, type_: Any) -> bool:
    try:
        taken = _TAKEN[type_.python_type]
    except (KeyError, NotImplementedError):
        return True
    return issubclass(kind, taken) or not (issubclass(kind, _KNOWN) or _is_url(kind) or _is_secret(kind))


def _is_url(kind: type) -> bool:
    return hasattr(kind, "unicode_string")


def _is_secret(kind: type) -> bool:
    return hasattr(kind, "get_secret_value")


def _shown(annotation: Any, misfit: Any) -> str:
    """The name of the class, as it is written in the annotation."""
    given = next((each for each, kind in _PLAIN.items() if kind is misfit and each in _written(annotation)), misfit)
    return str(getattr(given, "__name__", given))


def _written(annotation: Any) -> list[Any]:
    return [annotation, *(each for part in get_args(annotation) for each in _written(part))]


def _remedy(name: str, misfit: type, type_: Any) -> str:
    if _is_secret(misfit):
        return f"Annotated[{name}, AfterValidator({name}.get_secret_value)]"
    if isinstance(type_, sa.String) and (_is_url(misfit) or issubclass(misfit, IPv4Address)):
        return f"Annotated[{name}, AfterValidator(str)]"
    if isinstance(type_, sa.DateTime) and issubclass(misfit, datetime):
        return "sa_type=DateTime(timezone=True) at the column, or NaiveDatetime here"
    if issubclass(misfit, Enum):
        return f"sa_type=enum_text({name}) at the column"
    if issubclass(misfit, BaseModel | dict):
        return "sa_type=JSONB at the column"
    return f"{type_.python_type.__name__} here, or the column's type that groundwork/docs/values.md has for {name}"
