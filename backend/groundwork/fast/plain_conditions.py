"""Decides which routes are plain: those that use only what `PlainRoute` does.

Each condition rules out something that FastAPI does for a route and `PlainRoute` does not. `context` is a route as
FastAPI's routing sees it, and `dependant` is FastAPI's description of the parameters of a function.
"""

from inspect import iscoroutinefunction, isroutine, unwrap
from types import NoneType
from typing import Any

from fastapi import APIRouter, params
from fastapi._compat import is_scalar_field
from fastapi.datastructures import DefaultPlaceholder
from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import PydanticUndefined
from starlette.convertors import StringConvertor

from groundwork.fast.known_routes import is_known
from groundwork.http.paths import SegmentConvertor
from groundwork.http.routing import JSONRoute

_SEGMENTS = (StringConvertor, SegmentConvertor)


def is_plain(context: Any, router: APIRouter) -> bool:
    """Whether the route uses only what `PlainRoute` knows."""
    return (
        is_known(context)
        and _has_async_endpoint(context)
        and _has_overrides_of(context, router)
        and _answers_with_whole_model(context)
        and _has_path_of_whole_segments(context)
        and _has_text_parameters(context)
        and _has_no_body_but_json(context)
        and _has_plain_dependencies(context)
    )


def has_whole_segments(context: Any) -> bool:
    """Whether each parameter of the path is one segment. A parameter `{name:path}` can hold several."""
    convertors = getattr(context, "param_convertors", None)
    return convertors is not None and all(type(each) in _SEGMENTS for each in convertors.values())


def default_of(field: Any) -> Any:
    """The parameter's default; PydanticUndefined when it is required."""
    return PydanticUndefined if field.field_info.is_required() else field.default


def _has_async_endpoint(context: Any) -> bool:
    return _is_async_function(context.endpoint) and context.dependant.call is context.endpoint


def _has_overrides_of(context: Any, router: APIRouter) -> bool:
    """Whether the route and the router look up overridden dependencies in the same application."""
    return context.dependency_overrides_provider is router.dependency_overrides_provider is not None


def _answers_with_whole_model(context: Any) -> bool:
    """Whether the answer is JSON of all fields of a response model, under their aliases."""
    return bool(
        context.response_field is not None
        and isinstance(context.response_class, DefaultPlaceholder)
        and is_body_allowed_for_status_code(context.status_code)
        and not (context.response_model_include or context.response_model_exclude)
        and not (context.response_model_exclude_unset or context.response_model_exclude_defaults)
        and not context.response_model_exclude_none
        and context.response_model_by_alias
    )


def _has_path_of_whole_segments(context: Any) -> bool:
    return (
        has_whole_segments(context)
        and all(_is_whole_segment(part) for part in context.path_format.split("/"))
        and all(field.alias in context.param_convertors for field in context.dependant.path_params)
    )


def _is_whole_segment(part: str) -> bool:
    """Whether the segment is either a text or a parameter. `{name}.json` is both."""
    return part.count("{") == part.count("}") == part.startswith("{") == part.endswith("}")


def _has_text_parameters(context: Any) -> bool:
    """Whether all parameters are in the path and the query, and each is made from one text."""
    dependant = context.dependant
    return (
        not (dependant.header_params or dependant.cookie_params)
        and not _has_special_parameters(dependant)
        and all(_is_text(field) for field in (*dependant.path_params, *dependant.query_params))
    )


def _is_text(field: Any) -> bool:
    """Whether the parameter is made from one text, and requests can share its default."""
    return (
        is_scalar_field(field)
        and field.validation_alias in (None, field.alias)
        and not field.field_info.validate_default
        and isinstance(default_of(field), str | int | float | NoneType | type(PydanticUndefined))
    )


def _has_special_parameters(dependant: Any) -> bool:
    return bool(
        dependant.websocket_param_name
        or dependant.http_connection_param_name
        or dependant.background_tasks_param_name
        or dependant.security_scopes_param_name
    )


def _has_no_body_but_json(context: Any) -> bool:
    """Whether there is no body, or all of it is one parameter. A route with its own size limit is left to FastAPI."""
    bodies = context.dependant.body_params
    return context.max_body_size is None and (not bodies or (len(bodies) == 1 and _is_json_body(context)))


def _is_json_body(context: Any) -> bool:
    """Whether the body is read as strict JSON. FastAPI's own route class also takes NaN and UTF-16."""
    field_info = context.body_field.field_info
    return (
        type(context.original_route) is JSONRoute
        and isinstance(field_info, params.Body)
        and not isinstance(field_info, params.Form)
        and not context._embed_body_fields
    )


def _has_plain_dependencies(context: Any) -> bool:
    """Whether all dependencies are plain, and none occurs twice, because FastAPI would call it only once."""
    dependencies = context.dependant.dependencies
    return all(_is_plain_dependency(dependency) for dependency in dependencies) and len(
        {dependency.call for dependency in dependencies}
    ) == len(dependencies)


def _is_plain_dependency(dependant: Any) -> bool:
    """Whether it is an `async` function that takes nothing but the request."""
    return (
        _is_async_function(dependant.call)
        and not _has_special_parameters(dependant)
        and dependant.response_param_name is None
        and dependant.concurrency is None
        and not dependant.dependencies
        and not (dependant.path_params or dependant.query_params or dependant.header_params)
        and not (dependant.cookie_params or dependant.body_params)
    )


def _is_async_function(call: Any) -> bool:
    """Whether it is an `async` function, and so is the function that its decorators wrap. FastAPI checks both."""
    return isroutine(call) and iscoroutinefunction(call) and iscoroutinefunction(unwrap(call))
