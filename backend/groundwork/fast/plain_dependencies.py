"""The dependencies of a plain route, in the order in which FastAPI calls them, and their parameters."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

from fastapi import BackgroundTasks, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import _get_cache_key, _is_coroutine_callable
from pydantic_core import PydanticUndefined
from starlette.types import Scope

Texts = Mapping[str, str]
OWN_ARGUMENTS = ""
"""The key under which a handler's arguments hold those of its dependencies. No parameter has this name."""


class Parameter(NamedTuple):
    """A parameter of a function: the key of its text in the request, and FastAPI's validator for it."""

    name: str
    key: str
    validate: Callable[..., Any]
    default: Any = PydanticUndefined


class SpecialNames(NamedTuple):
    """A function's parameters for what is not made from a text."""

    request: str | None
    response: str | None
    tasks: str | None
    connection: str | None
    """The request, too, for functions that also serve WebSockets, such as FastAPI's security schemes."""

    @classmethod
    def of(cls, dependant: Any) -> Self:
        return cls(
            dependant.request_param_name,
            dependant.response_param_name,
            dependant.background_tasks_param_name,
            dependant.http_connection_param_name,
        )

    def fill(
        self,
        arguments: dict[str, Any],
        request: Request | None,
        response: Response | None,
        tasks: BackgroundTasks | None,
    ) -> None:
        if self.request:
            arguments[self.request] = request
        if self.response:
            arguments[self.response] = response
        if self.tasks:
            arguments[self.tasks] = tasks
        if self.connection:
            arguments[self.connection] = request


class _Rest(NamedTuple):
    """What most dependencies do not have: parameters other than the request."""

    path: list[Parameter]
    query: list[Parameter]
    headers: list[Parameter]
    results: list[tuple[str, int]]
    """Parameters that are dependencies themselves, each with its place in the order."""
    special: SpecialNames


class _Step(NamedTuple):
    call: Callable[..., Awaitable[Any]]
    request: str | None
    """The parameter for the request, if it takes the request."""
    rest: _Rest | None


class Dependencies:
    """All dependencies of a handler.

    Args:
        dependant: FastAPI's description of the handler's parameters.
    """

    def __init__(self, dependant: Any) -> None:
        self._steps: list[_Step] = []
        self._places: dict[Any, int] = {}
        self._results = self._add_all(dependant)
        rests = [step.rest for step in self._steps if step.rest]
        self.have_texts = any(rest.path or rest.query or rest.headers for rest in rests)
        special = [rest.special for rest in rests]
        self.need_request = any(step.request for step in self._steps) or any(names.connection for names in special)
        self.need_response = any(names.response for names in special)
        self.need_tasks = any(names.tasks for names in special)

    def _add_all(self, dependant: Any) -> list[tuple[str, int]]:
        added = [(dependency.name, self._add(dependency)) for dependency in dependant.dependencies]
        # The dependency of a router has no parameter for its result.
        return [(name, place) for name, place in added if name is not None]

    def _add(self, dependant: Any) -> int:
        """Add a dependency after its own dependencies, as FastAPI calls them. One that is cached is called once."""
        results = self._add_all(dependant)
        key = _get_cache_key(dependant=dependant)
        if dependant.use_cache and key in self._places:
            return self._places[key]
        self._steps.append(_step(dependant, results))
        place = len(self._steps) - 1
        self._places.setdefault(key, place)
        return place

    def arguments(self, texts: Texts, scope: Scope) -> list[dict[str, Any]]:
        """The arguments of each dependency from path, query and headers.

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
            for step in self._steps
        ]

    async def run(
        self,
        arguments: dict[str, Any],
        request: Request | None,
        response: Response | None,
        tasks: BackgroundTasks | None,
    ) -> None:
        """Call the dependencies, and add the results to the handler's arguments."""
        own = arguments.pop(OWN_ARGUMENTS) if self.have_texts else None
        results: list[Any] = []
        for call, request_name, rest in self._steps:
            if rest is None:
                result = await (call(**{request_name: request}) if request_name else call())
            else:
                given = own[len(results)] if own else {}
                for name, place in rest.results:
                    given[name] = results[place]
                rest.special.fill(given, request, response, tasks)
                result = await call(**given)
            results.append(result)
        for name, place in self._results:
            arguments[name] = results[place]


def awaitable(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself if FastAPI would await it, else one that runs it in the thread pool, as FastAPI does."""
    if _is_coroutine_callable(call):
        return call

    def in_thread(**arguments: Any) -> Awaitable[Any]:
        return run_in_threadpool(call, **arguments)

    return in_thread


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


def _step(dependant: Any, results: list[tuple[str, int]]) -> _Step:
    rest = _Rest(
        parameters_of(dependant.path_params),
        parameters_of(dependant.query_params),
        headers_of(dependant.header_params),
        results,
        SpecialNames.of(dependant),
    )
    takes_more = any(rest[:4]) or any(rest.special[1:])
    return _Step(awaitable(dependant.call), dependant.request_param_name, rest if takes_more else None)
