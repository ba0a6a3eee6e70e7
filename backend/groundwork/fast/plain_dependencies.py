"""The dependencies of a plain route, in the order in which FastAPI calls them."""

from collections.abc import Awaitable, Callable
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, NamedTuple, Self

from fastapi import BackgroundTasks, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import _get_cache_key, _is_coroutine_callable
from starlette.types import Scope

from groundwork.fast.text_parameters import (
    Parameter,
    Texts,
    header_texts,
    headers_of,
    parameters_of,
    query_texts,
    values_of,
)

OWN_ARGUMENTS = ""
"""The key under which a handler's arguments hold those of its dependencies. No parameter has this name."""


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
        self._places: dict[Any, int] = {}
        self.results = self._add_all(dependant)
        """The handler's parameters for the results of dependencies, each with its place in the order."""
        rests = [step.rest for step in self.steps if step.rest]
        self.have_texts = any(rest.path or rest.query or rest.headers for rest in rests)
        special = [rest.special for rest in rests]
        self.need_request = any(step.takes_request for step in self.steps) or any(names.connection for names in special)
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
        self.steps.append(_step(dependant, results))
        place = len(self.steps) - 1
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
            for step in self.steps
        ]


def awaitable(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function itself if FastAPI would await it, else one that runs it in the thread pool, as FastAPI does."""
    if _is_coroutine_callable(call):
        return call

    def in_thread(**arguments: Any) -> Awaitable[Any]:
        return run_in_threadpool(call, **arguments)

    return in_thread


def _step(dependant: Any, results: list[tuple[str, int]]) -> _Step:
    rest = _Rest(
        parameters_of(dependant.path_params),
        parameters_of(dependant.query_params),
        headers_of(dependant.header_params),
        results,
        SpecialNames.of(dependant),
    )
    call, request_name = awaitable(dependant.call), dependant.request_param_name
    if any(rest[:4]) or any(rest.special[1:]):
        return _Step(call, request_name is not None, rest)
    return _Step(*_by_position(call, request_name), None)


def _by_position(call: Callable[..., Any], request_name: str | None) -> tuple[Callable[..., Any], bool]:
    """The dependency, so that it takes the request by position, and whether it takes the request.

    Naming the argument costs as much again as the call. A dependency that takes nothing by position gets it by name.
    """
    if request_name is None:
        return call, False
    first = next(iter(signature(call, follow_wrapped=False).parameters.values()))
    if first.name == request_name and first.kind is not Argument.KEYWORD_ONLY:
        return call, True
    return lambda request: call(**{request_name: request}), True
