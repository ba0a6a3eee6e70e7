"""Error responses: problem details (RFC 9457) with the same members for every status.

`_ANSWERS` has the HTTP status of each of the library's errors. A service's own error has the status of its base class,
unless it sets another one. The responses in the OpenAPI document are made from the same classes.
"""

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from groundwork import errors

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
"""The value of `Retry-After` in every 503."""


def header(description: str, type: str = "string", **more: Any) -> dict[str, Any]:
    """A response's header, as OpenAPI describes it."""
    return {"description": description, **more, "schema": {"type": type}}


def header_parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A request's header, as OpenAPI describes it.

    The description stands in both places, as FastAPI writes it. Generators of clients read one or the other.
    """
    schema = {"type": "string", **schema, "description": description}
    return {"name": name, "in": "header", "description": description, "schema": schema}


_ANSWERS: dict[type[errors.AppError], tuple[int, str]] = {
    errors.Invalid: (400, "The request's content breaks a rule; `errors` says where and why."),
    errors.Unauthenticated: (401, "The bearer token is missing, or not valid."),
    errors.Forbidden: (403, "The bearer token lacks the role."),
    errors.NotFound: (404, "No such resource for this user."),
    errors.Conflict: (409, "The request contradicts an earlier request or the current state."),
    errors.PreconditionFailed: (412, "The resource has another version than the request asks for."),
    errors.ContentTooLarge: (413, "The request body is too large."),
    errors.UnsupportedMediaType: (415, "The request body is not JSON, or it is compressed."),
    errors.TooManyRequests: (429, "The user has sent more requests than the limit allows; try again later."),
    errors.Unavailable: (503, "The database cannot be reached, or the service is overloaded; try again later."),
}
"""The status of each of the library's errors, and what the OpenAPI document says of it."""
_DESCRIPTIONS = dict(_ANSWERS.values())
_RETRY_AFTER = {"Retry-After": header("Seconds to wait.", "integer", required=True)}
_HEADERS = {
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY_AFTER,
    HTTPStatus.SERVICE_UNAVAILABLE: _RETRY_AFTER,
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": header("`Bearer`, and what is wrong with the token.")},
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: {"Accept-Encoding": header("`identity`, if the body was compressed.")},
}
_DETAILS = {
    HTTPStatus.NOT_FOUND: errors.NotFound.detail,
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not support the method; see the Allow header.",
}
_NO_SLASH = "There is nothing at this path; leave out the slash at its end."
# An example that fits every operation on users' data. `openapi_examples` replaces it by the operation's own examples.
_EMPTY = errors.Invalid.at("path", "user_id", msg="String should have at least 1 character", type="string_too_short")
# The examples of errors whose sentence depends on the request.
_SAMPLES = {
    errors.ContentTooLarge: errors.ContentTooLarge(1024 * 1024).detail,
    errors.TooManyRequests: errors.TooManyRequests(1).detail,
    errors.InvalidToken: "The token has expired.",
}
_DEFECT = "The service failed to handle the request; the fault has been logged."


class RejectedPart(BaseModel):
    loc: list[str | int] = Field(description="Where: `body`, `path`, `query` or `header`, then the name.")
    msg: str = Field(description="What is wrong.")
    type: str = Field(description="A stable name for what is wrong.")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="The kind of problem. With `about:blank`, the status alone says it.")
    title: str = Field(description="The name of the kind, or of the status.")
    status: int
    detail: str = Field(description="What went wrong, in a sentence.")
    # A default in the document would tell TypeScript that the member always exists. A default from a factory is not in
    # it. The factory is not `list` itself, because pydantic would parse its signature from text: 5 ms at every start.
    errors: list[RejectedPart] = Field(
        default_factory=lambda: [],  # noqa: PIE807
        description="The rejected parts of the request, when the status is 400.",
    )


def problem_responses(*kinds: type[errors.AppError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of an operation that can fail with these errors.

    Several can have the same status. Each has an example of its own, by the name of its class.
    """
    by_status: dict[HTTPStatus, list[type[errors.AppError]]] = {}
    for kind in kinds:
        by_status.setdefault(_status(kind), []).append(kind)
    return {status.value: _openapi_response(status, same) for status, same in by_status.items()}


def problem(
    status: int,
    detail: str,
    rejected: list[errors.Rejection] | None = None,
    headers: dict[str, str] | None = None,
    *,
    kind: type[errors.AppError] = errors.AppError,
) -> Response:
    """A response with problem details.

    Args:
        detail: what went wrong, in a sentence for the client.
        rejected: the parts of the request that were rejected. If it is None, the member `errors` is left out.
        headers: additional headers of the response.
        kind: the error whose type and title the problem has.
    """
    body = _members(status, detail, kind) | ({} if rejected is None else {"errors": rejected})
    return Response(json.dumps(body), status, headers, media_type=MEDIA_TYPE)


def problem_of(error: errors.AppError) -> Response:
    """The response to an error of the domain, with the headers that its status requires."""
    status = _status(type(error))
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning("request answered with 503", extra={"cause": repr(error.__cause__)})
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, errors.TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, errors.UnsupportedEncoding):
        # The response must list the accepted codings (RFC 9110, 15.5.16). Here there are none.
        headers["Accept-Encoding"] = "identity"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The rest of the body is not read, so the connection cannot carry another request.
        headers["Connection"] = "close"
    rejected = error.errors if isinstance(error, errors.Invalid) else None
    return problem(status, error.detail, rejected, headers, kind=type(error))


def _status(kind: type[errors.AppError]) -> HTTPStatus:
    try:
        return HTTPStatus(kind.status or next(_ANSWERS[base][0] for base in kind.__mro__ if base in _ANSWERS))
    except (StopIteration, ValueError):
        raise TypeError(f"{kind.__name__}: give it an HTTP status, as in `status = 402`") from None


def _members(status: int, detail: str, kind: type[errors.AppError]) -> dict[str, Any]:
    return {"type": kind.type, "title": kind.title or _title(status), "status": int(status), "detail": detail}


def _challenge(error: errors.Unauthenticated) -> str:
    """The value of `WWW-Authenticate`. It says what is wrong only if a token was sent (RFC 6750, section 3)."""
    if isinstance(error, errors.InvalidToken):
        return f'Bearer error="invalid_token", error_description="{error.detail}"'
    return "Bearer"


def problem_of_defect() -> Response:
    """The response to an unexpected exception."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, _DEFECT)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application, FastAPI and Starlette with problem details."""
    app.add_exception_handler(errors.AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(WebSocketRequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_app_error(request: Request, error: Any) -> Response:
    _free_causes(error)
    return problem_of(error)


async def _on_invalid_request(request: Request, error: Any) -> Response:
    _free_causes(error)
    body = getattr(error, "body", None)  # a WebSocket has none
    return problem_of(errors.Invalid(errors.rejections(error.errors(), body)))


async def _on_http_error(request: Request, error: Any) -> Response:
    _free_causes(error)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names only the methods of the first matching route. RFC 9110, 10.2.1, asks for every method.
        methods = _methods(request, request.scope)
        methods |= {"HEAD"} if "GET" in methods else set()
        headers["Allow"] = ", ".join(sorted(methods)) or headers.get("Allow", "")
    detail = _DETAILS.get(error.status_code) or error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and _is_known_without_slash(request):
        detail = _NO_SLASH
    return problem(error.status_code, detail, headers=headers)


def _free_causes(error: BaseException) -> None:
    """Remove the tracebacks of the errors that caused this one. Starlette removes the traceback of the error itself.

    After `raise other from error`, a frame with a variable for `other` is part of a reference cycle. Only the garbage
    collector could free the cycle, and with it the request and everything else that the frames refer to.
    """
    cause = error.__cause__ or error.__context__
    while cause is not None and cause.__traceback__ is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__


def _is_known_without_slash(request: Request) -> bool:
    """Whether no route was found, and one would be without the slash at the path's end.

    The answer does not redirect there. Each resource has one URL, and a client that is redirected sends each request
    twice without anybody noticing.
    """
    path = request.scope["path"]
    if "endpoint" in request.scope or not path.endswith("/"):
        return False
    return bool(_methods(request, {**request.scope, "path": path[:-1]}))


def _methods(request: Request, scope: Scope) -> set[str]:
    methods: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        match, _ = context.matches(scope)
        if match is not Match.NONE:
            methods |= set(getattr(context, "methods", None) or ())
    return methods


def _title(status: int) -> str:
    # The name in RFC 9110. Python has it since 3.13.
    return "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else HTTPStatus(status).phrase


def _description(status: HTTPStatus, kind: type[errors.AppError]) -> str:
    return _DESCRIPTIONS[status] if kind.type == errors.AppError.type and status in _DESCRIPTIONS else kind.detail


def _example(status: HTTPStatus, kind: type[errors.AppError]) -> dict[str, Any]:
    if issubclass(kind, errors.Invalid):
        detail = _EMPTY.detail if kind.detail is errors.Invalid.detail else kind.detail
        return {**_members(status, detail, kind), "errors": _EMPTY.errors}
    own = kind.detail is not errors.AppError.detail
    return _members(status, _SAMPLES.get(kind) or (kind.detail if own else _description(status, kind)), kind)


def _openapi_response(status: HTTPStatus, kinds: list[type[errors.AppError]]) -> dict[str, Any]:
    # Where an error is possible, so are the library's special cases of it: InvalidToken, UnsupportedEncoding.
    causes = [
        each for kind in kinds for each in (kind, *kind.__subclasses__()) if each in (*kinds, *vars(errors).values())
    ]
    examples = {kind.__name__: {"value": _example(status, kind)} for kind in causes}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    description = " Or: ".join(dict.fromkeys(_description(status, kind) for kind in kinds))
    response: dict[str, Any] = {"description": description, "content": {MEDIA_TYPE: content}}
    return response if status not in _HEADERS else {**response, "headers": _HEADERS[status]}
