"""The parameters of a plain route's handler and dependencies: texts of path, query and headers, and everything else.

`plain_route` calls the dependencies in the order in which FastAPI calls them.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import _get_cache_key, _is_coroutine_callable
from pydantic_core import PydanticUndefined
from starlette.types import Scope

PATH, QUERY, HEADERS = range(3)
"""The places, in a list, of the texts of a request."""

REQUEST, RESPONSE, TASKS, RESULTS = range(4)
"""The places, in a list, of the values that functions take beside texts: the request, the response, the background
tasks, and then the result of each step."""

Texts = Mapping[str, str]


class Parameter(NamedTuple):
    """A parameter that is made from a text: the place and the key of the text, and FastAPI's validator for it."""

    name: str
    place: int
    key: str
    validate: Callable[..., Any]
    default: Any


class Step(NamedTuple):
    """A function that a request calls: a dependency, or the handler."""

    call: Callable[..., Awaitable[Any]]
    texts: list[Parameter]
    given: list[tuple[str, int]]
    """The parameters that are not made from texts, each with the place of its value."""


def steps_of(handler: Any) -> list[Step]:
    """The dependencies of a handler in the order in which FastAPI calls them, and then the handler itself.

    Args:
        handler: FastAPI's description of the handler's parameters.
    """
    steps: list[Step] = []
    places: dict[Any, int] = {}

    def add(dependant: Any) -> int:
        """Add a function after its own dependencies. A dependency that is cached is called once."""
        named = [
            *((dependency.name, add(dependency)) for dependency in dependant.dependencies),
            (dependant.request_param_name, REQUEST),
            # Functions that also serve WebSockets have this one, such as FastAPI's security schemes.
            (dependant.http_connection_param_name, REQUEST),
            (dependant.response_param_name, RESPONSE),
            (dependant.background_tasks_param_name, TASKS),
        ]
        key = _get_cache_key(dependant=dependant)
        if dependant.use_cache and key in places:
            return places[key]
        place = RESULTS + len(steps)
        # The dependency of a router has no parameter for its result.
        given = [(name, place) for name, place in named if name is not None]
        steps.append(Step(_awaitable(dependant.call), [*_texts(dependant)], given))
        places.setdefault(key, place)
        return place

    add(handler)
    return steps


def _texts(dependant: Any) -> Iterator[Parameter]:
    for place, fields in enumerate((dependant.path_params, dependant.query_params, dependant.header_params)):
        for field in fields:
            key = field.alias.lower() if place == HEADERS else field.alias
            yield Parameter(field.name, place, key, validator_of(field), default_of(field))


def _awaitable(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself if FastAPI would await it, else one that runs it in the thread pool, as FastAPI does."""
    if _is_coroutine_callable(call):
        return call

    def in_thread(**arguments: Any) -> Awaitable[Any]:
        return run_in_threadpool(call, **arguments)

    return in_thread


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


def values_of(parameters: Sequence[Parameter], texts: Sequence[Texts]) -> dict[str, Any]:
    """The value of each parameter.

    Raises:
        ValueError: a value is missing or not valid.
    """
    values: dict[str, Any] = {}
    for name, place, key, validate, default in parameters:
        if key in texts[place]:
            values[name] = validate(texts[place][key], from_attributes=True)
        elif default is PydanticUndefined:
            raise ValueError(name)
        else:
            values[name] = default
    return values
