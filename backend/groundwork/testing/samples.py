"""Looks at the samples of a resource before its tests: the service must accept them, and rows must differ."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import TypeAdapter, ValidationError

from groundwork.testing import unique
from groundwork.testing.resource import Differs, Resource

MANY_ROWS = 99_999
"""At least as many as the rows of one test."""


def constant(resource: Resource) -> str:
    """The name that the entry usually has in `tests/resources.py`."""
    return resource.name.upper()


def problem_of(resource: Resource, app: FastAPI, differs: Mapping[str, Differs]) -> str:
    """A sentence about what is wrong with the samples of a resource; "" if nothing is."""
    stored, optional = resource.stored, resource.optional
    if problem := unique.problem_of(stored.described, {**optional, **stored.sample}, resource.unique):
        return problem
    create, update = (
        _body_of(app, name) if name not in differs else None
        for name in (f"create_{resource.name}", f"update_{resource.name}")
    )
    bodies = [(create, resource.body(**optional)), (update, {**resource.change(), **optional})]
    for refused in (_refused(*each) for each in bodies):
        if refused:
            return f"The sample of {constant(resource)} is refused: {refused}. Mend it in tests/resources.py."
    row = unique.varied(stored.described, resource.body(**optional), resource.unique, {}, MANY_ROWS)
    if refused := _refused(create, row):
        return (
            f"A value of {constant(resource)} must be unique, and its sample with a number is refused: {refused}. Say"
            ' the n-th value in tests/resources.py, as unique={"…": lambda n: …}.'
        )
    return ""


def _body_of(app: FastAPI, operation: str) -> TypeAdapter[Any] | None:
    """What the operation takes as its body; None if it takes none."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.name == operation and route.body_field:
            body: Any = route.body_field.field_info.annotation
            return TypeAdapter(body)
    return None


def _refused(body: TypeAdapter[Any] | None, value: Mapping[str, Any]) -> str:
    """What the service does not accept in a body; "" if it accepts the body."""
    try:
        if body:
            body.validate_python(value)
    except ValidationError as error:
        return "; ".join(_reasons(error, value))
    return ""


def _reasons(error: ValidationError, body: Mapping[str, Any]) -> Iterator[str]:
    for each in error.errors(include_url=False):
        place = ".".join(map(str, each["loc"]))
        sample = f" {body[place]!r}" if place in body else ""
        yield f"{place}{sample}: {each['msg']}" if place else each["msg"]
