"""The parameters of a plain route's handler and dependencies: texts of path, query and headers, and everything else.

`plain_route` calls the dependencies in the order in which FastAPI calls them.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import _get_cache_key, _is_coroutine_callable
from pydantic_core import PydanticUndefined
from starlette.types import Scope

OWN_ARGUMENTS = ""
"""The key under which a handler's arguments hold those of its dependencies. No parameter has this name."""

REQUEST, RESPONSE, TASKS, RESULTS = range(4)
"""The places, in a list, of the values that functions take beside texts: the request, the response, the background
tasks, and then the result of each dependency."""

Given = list[tuple[str, int]]
"""The parameters of a function that are not made from texts, each with the place of its value."""

Texts = Mapping[str, str]


class Parameter(NamedTuple):
    """A parameter that is made from a text: the key of the text in the request, and FastAPI's validator for it."""

    name: str
    key: str
    validate: Callable[..., Any]
    default: Any = PydanticUndefined


class _Rest(NamedTuple):
    """The parameters of a dependency other than the request. Most dependencies have none."""

    path: list[Parameter]
    query: list[Parameter]
    headers: list[Parameter]
    given: Given


class _Step(NamedTuple):
    call: Callable[..., Awaitable[Any]]
    takes_request: bool
    rest: _Rest | None
    """None if it has no parameter other than the request."""


class Dependencies:
    """All dependencies of a handler.

    Args:
        dependant: FastAPI's description of the handler's parameters.
    """

    def __init__(self, dependant: Any) -> None:
        self.steps: list[_Step] = []
        self.needs: set[int] = set()
        """The places of everything that the handler and its dependencies take beside texts."""
        self._places: dict[Any, int] = {}
        self.given = self._add_all(dependant)
        """The handler's own parameters that are not made from texts."""
        self.have_texts = any(step.rest and any(step.rest[:3]) for step in self.steps)

    def _add_all(self, dependant: Any) -> Given:
        """Add the dependencies of a function, and return its own parameters that are not made from texts."""
        named = [
            *((dependency.name, self._add(dependency)) for dependency in dependant.dependencies),
            (dependant.request_param_name, REQUEST),
            # Functions that also serve WebSockets have this one, such as FastAPI's security schemes.
            (dependant.http_connection_param_name, REQUEST),
            (dependant.response_param_name, RESPONSE),
            (dependant.background_tasks_param_name, TASKS),
        ]
        # The dependency of a router has no parameter for its result.
        given = [(name, place) for name, place in named if name is not None]
        self.needs.update(place for _, place in given)
        return given

    def _add(self, dependant: Any) -> int:
        """Add a dependency after its own dependencies, as FastAPI calls them. One that is cached is called once."""
        given = self._add_all(dependant)
        key = _get_cache_key(dependant=dependant)
        if dependant.use_cache and key in self._places:
            return self._places[key]
        place = RESULTS + len(self.steps)
        self.steps.append(_step(dependant, given))
        self._places.setdefault(key, place)
        return place

    def arguments(self, texts: Texts, scope: Scope) -> list[dict[str, Any]]:
        """The arguments of each step from path, query and headers.

        Raises:
            ValueError: one of them is not valid.
        """
        query, headers = query_texts(scope), header_texts(scope)
        return [
            dict(
                pair
                for parameters, given in zip(step.rest[:3], (texts, query, headers), strict=True)
                for pair in values_of(parameters, given)
            )
            if step.rest
            else {}
            for step in self.steps
        ]


def awaitable(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself if FastAPI would await it, else one that runs it in the thread pool, as FastAPI does."""
    if _is_coroutine_callable(call):
        return call

    def in_thread(**arguments: Any) -> Awaitable[Any]:
        return run_in_threadpool(call, **arguments)

    return in_thread


def _step(dependant: Any, given: Given) -> _Step:
    path, query = text_parameters(dependant.path_params), text_parameters(dependant.query_params)
    rest = _Rest(path, query, header_parameters(dependant.header_params), given)
    call = awaitable(dependant.call)
    request_name = dependant.request_param_name or dependant.http_connection_param_name
    if any(rest[:3]) or given not in ([], [(request_name, REQUEST)]):
        return _Step(call, request_name is not None, rest)
    return _Step(*_by_position(call, request_name), None)


def _by_position(call: Callable[..., Any], request_name: str | None) -> tuple[Callable[..., Any], bool]:
    """A function that calls the dependency with the request by position, and whether it takes the request at all.

    Naming the argument would double the cost of the call. It is named only where the position is not known.
    """
    if request_name is None:
        return call, False
    first = next(iter(signature(call, follow_wrapped=False).parameters.values()))
    if first.name == request_name and first.kind is not Argument.KEYWORD_ONLY:
        return call, True
    return lambda request: call(**{request_name: request}), True


def text_parameters(fields: Sequence[Any]) -> list[Parameter]:
    return [Parameter(field.name, field.alias, validator_of(field), default_of(field)) for field in fields]


def header_parameters(fields: Sequence[Any]) -> list[Parameter]:
    return [parameter._replace(key=parameter.key.lower()) for parameter in text_parameters(fields)]


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
