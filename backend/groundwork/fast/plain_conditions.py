"""Decides which routes are plain: those that use only what `PlainRoute` does.

Each condition rules out something that FastAPI does for a route and `PlainRoute` does not. `context` is a route as
FastAPI's routing sees it, and `dependant` is FastAPI's description of the parameters of a function.
"""

from collections.abc import Callable
from types import NoneType
from typing import Any

from fastapi import APIRouter, params
from fastapi._compat import is_scalar_field, lenient_issubclass
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import _is_async_gen_callable, _is_coroutine_callable, _is_gen_callable
from fastapi.sse import EventSourceResponse
from fastapi.utils import is_body_allowed_for_status_code
from pydantic_core import PydanticUndefined
from starlette.convertors import StringConvertor

from groundwork.fast.known_routes import is_known
from groundwork.fast.plain_parameters import default_of
from groundwork.http.paths import SegmentConvertor
from groundwork.http.protected_routes import functions_of
from groundwork.http.routing import JSONRoute

_SEGMENTS = (StringConvertor, SegmentConvertor)


def why_not_plain(context: Any, router: APIRouter) -> str | None:
    """What the route uses that `PlainRoute` does not support; None if the route is plain."""
    for is_met, reason in _CONDITIONS:
        if not is_met(context):
            return reason
    if context.dependency_overrides_provider is not router.dependency_overrides_provider or (
        router.dependency_overrides_provider is None
    ):
        return "its dependencies are overridden in another application"
    return None


def may_be_found(context: Any) -> bool:
    """Whether the segments of a path alone tell that the route takes it, so that FastAPI's search can be left out."""
    return is_known(context) and _has_path_of_whole_segments(context) and not _takes_form(context)


def _takes_form(context: Any) -> bool:
    """Whether the body is a form. Routers can limit forms, and FastAPI's search applies these limits."""
    return context.body_field is not None and isinstance(context.body_field.field_info, params.Form)


def has_whole_segments(context: Any) -> bool:
    """Whether each parameter of the path is one segment. A parameter `{name:path}` can hold several."""
    convertors = getattr(context, "param_convertors", None)
    return convertors is not None and all(type(each) in _SEGMENTS for each in convertors.values())


def is_whole_model(context: Any) -> bool:
    """Whether the answer is JSON of all fields of a response model, under their aliases, made on the event loop."""
    return bool(
        context.response_field is not None
        and isinstance(context.response_class, DefaultPlaceholder)
        and is_body_allowed_for_status_code(context.status_code)
        and _is_coroutine_callable(context.endpoint)
        and not (context.response_model_include or context.response_model_exclude)
        and not (context.response_model_exclude_unset or context.response_model_exclude_defaults)
        and not context.response_model_exclude_none
        and context.response_model_by_alias
        and not any(each.background_tasks_param_name for each in functions_of(context.dependant))
    )


def _has_plain_endpoint(context: Any) -> bool:
    return context.dependant.call is context.endpoint and not _is_generator(context.endpoint)


def _is_generator(call: Any) -> bool:
    return _is_gen_callable(call) or _is_async_gen_callable(call)


def _sends_no_events(context: Any) -> bool:
    return not lenient_issubclass(context.response_class, EventSourceResponse)


def _has_path_of_whole_segments(context: Any) -> bool:
    return has_whole_segments(context) and all(_is_whole_segment(part) for part in context.path_format.split("/"))


def _is_whole_segment(part: str) -> bool:
    """Whether the segment is either a text or a parameter. `{name}.json` is both."""
    return part.count("{") == part.count("}") == part.startswith("{") == part.endswith("}")


def _has_plain_parameters(context: Any) -> bool:
    return _takes_texts(context.dependant, context)


def _takes_texts(dependant: Any, context: Any) -> bool:
    """Whether all parameters are in path, query and headers, and each is made from one text, or is the request or such.

    Parameters of the body are not looked at.
    """
    fields = (*dependant.path_params, *dependant.query_params, *dependant.header_params)
    return (
        not (dependant.cookie_params or dependant.websocket_param_name or dependant.security_scopes_param_name)
        and all(_is_text(field) for field in fields)
        and all(field.alias in context.param_convertors for field in dependant.path_params)
    )


def _is_text(field: Any) -> bool:
    """Whether the parameter is made from one text, and requests can share its default."""
    return (
        is_scalar_field(field)
        and field.validation_alias in (None, field.alias)
        and not field.field_info.validate_default
        and isinstance(default_of(field), str | int | float | NoneType | type(PydanticUndefined))
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
        and not _takes_form(context)
        and not context._embed_body_fields
    )


def _has_plain_dependencies(context: Any) -> bool:
    _, *dependencies = functions_of(context.dependant)
    return all(
        _takes_texts(each, context) and not (each.body_params or _is_generator(each.call)) and each.concurrency is None
        for each in dependencies
    )


_CONDITIONS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (is_known, "it is not a route of FastAPI's own classes, or something wraps it"),
    (_has_plain_endpoint, "its handler is a generator"),
    (_sends_no_events, "its response class sends events"),
    (_has_path_of_whole_segments, "a parameter of its path is not one whole segment"),
    (_has_plain_parameters, "a parameter is a cookie, a model, a list, a WebSocket or SecurityScopes"),
    (_has_no_body_but_json, "its body is not one JSON model of a router from `router_of`, or has a limit of its own"),
    (_has_plain_dependencies, "a dependency has `yield`, a concurrency limit, or one of those parameters"),
)
