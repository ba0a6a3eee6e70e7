"""Parameters that are made from one text of the path, the query or the headers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from pydantic_core import PydanticUndefined
from starlette.types import Scope

Texts = Mapping[str, str]


class Parameter(NamedTuple):
    """A parameter of a function: the key of its text in the request, and FastAPI's validator for it."""

    name: str
    key: str
    validate: Callable[..., Any]
    default: Any = PydanticUndefined


def parameters_of(fields: Sequence[Any]) -> list[Parameter]:
    return [Parameter(field.name, field.alias, validator_of(field), default_of(field)) for field in fields]


def headers_of(fields: Sequence[Any]) -> list[Parameter]:
    return [parameter._replace(key=parameter.key.lower()) for parameter in parameters_of(fields)]


def validator_of(field: Any) -> Callable[..., Any]:
    validate: Callable[..., Any] = field._type_adapter.validator.validate_python
    return validate


def default_of(field: Any) -> Any:
    """The parameter's default; PydanticUndefined when it is required."""
    return PydanticUndefined if field.field_info.is_required() else field.default


def query_texts(scope: Scope) -> Texts:
    """The last value of each key of the query, as FastAPI takes it."""
    query_string = scope.get("query_string", b"")
    return dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)) if query_string else {}


def header_texts(scope: Scope) -> Texts:
    """The first value of each header, as FastAPI takes it."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def values_of(parameters: Sequence[Parameter], texts: Texts) -> Iterator[tuple[str, Any]]:
    """Each parameter's name and value.

    Raises:
        ValueError: a value is missing or not valid.
    """
    for name, key, validate, default in parameters:
        if key in texts:
            yield name, validate(texts[key], from_attributes=True)
        elif default is PydanticUndefined:
            raise ValueError(name)
        else:
            yield name, default
