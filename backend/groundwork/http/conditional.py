"""Conditional requests (RFC 9110, section 13): `ETag`, `If-Match` and `If-None-Match`.

A route takes a `RequestCondition` and passes it to its service. It returns `with_etag(…)`, or `not_modified_or(…)` if
it only reads. The headers are lists that may come in several lines. FastAPI's `Header` would read only the first line,
so a dependency reads them. The OpenAPI document gets the headers from `CONDITIONS`.
"""

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response

from groundwork.data.versions import ALWAYS, Condition, Versioned, VersionedRow
from groundwork.errors import Invalid, PreconditionFailed
from groundwork.http.paths import request_path
from groundwork.http.problems import header, header_parameter, problem_of, problem_responses

Resource = TypeVar("Resource", bound=Versioned)
NewResource = TypeVar("NewResource", bound=VersionedRow)

# Part of every tag. Change it when the form of a representation changes, so that older tags no longer match.
_FORMAT = b"1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_SECONDS, _SECOND_MICROSECONDS = 86_400, 1_000_000
# The user's browser may store the response if it revalidates it each time. A shared cache may not store it. A response
# without a tag cannot be revalidated, so `response_headers` forbids storing it.
_CACHING = (b"cache-control", b"private, no-cache")


class ForeignTag(PreconditionFailed):
    """No tag in `If-Match` can ever match, so that a retry would not help."""

    detail = (
        "No tag in If-Match can match: each is weak (W/, RFC 9110, 8.8.3.2), or was not given by this service. A proxy"
        " that compresses answers changes their tags; it must leave the tags of this service as they are."
    )


_IF_MATCH, _IF_NONE_MATCH = b"if-match", b"if-none-match"
_TAG = rb'(?:W/)?"[\x21\x23-\x7E\x80-\xFF]*"'
# One element of the list; it may be empty (RFC 9110, 5.6.1). Each byte can match in one way only, so matching takes
# linear time, even for a text that does not match.
_ELEMENT = rb"[ \t]*(?:%b[ \t]*)?" % _TAG
_is_list = re.compile(rb"%b(?:,%b)*" % (_ELEMENT, _ELEMENT)).fullmatch
_tags = re.compile(_TAG).findall
_has_strong_tag_of_ours = re.compile(rb'(?<!W/)"%b-[1-9a-f][0-9a-f]{0,13}"' % _FORMAT).search
_own_version = re.compile(rb'(W/)?"%b-([1-9a-f][0-9a-f]{0,13})"' % _FORMAT).fullmatch


def entity_tag(version: datetime) -> bytes:
    """A strong entity tag: two representations with the same tag are the same, byte for byte (RFC 9110, 8.8.3)."""
    age = version - _EPOCH
    # Dividing one timedelta by another takes five times as long.
    return b'"%b-%x"' % (_FORMAT, (age.days * _DAY_SECONDS + age.seconds) * _SECOND_MICROSECONDS + age.microseconds)


def with_etag(response: Response, resource: Resource) -> Resource:
    """Add the resource's `ETag` to the response. Returns the resource."""
    response.raw_headers += [(b"etag", entity_tag(resource.updated_at)), _CACHING]
    return resource


def created(request: Request, response: Response, resource: NewResource) -> NewResource:
    """Add the new resource's `ETag` and `Location` to the response. Returns the resource."""
    location = f"{request_path(request)}/{resource.id}".encode("ascii")
    response.raw_headers.append((b"location", location))
    return with_etag(response, resource)


def not_modified_or(response: Response, resource: Resource, condition: Condition) -> Resource | Response:
    """The resource with its `ETag`, or a 304 without a body if the client already has this version.

    Raises:
        PreconditionFailed: `If-Match` does not name this version.
    """
    if not condition.wants(resource.updated_at):
        raise PreconditionFailed
    if condition.excludes(resource.updated_at):
        response = Response(status_code=HTTPStatus.NOT_MODIFIED)
        with_etag(response, resource)
        return response
    return with_etag(response, resource)


def install_precondition_handler(app: FastAPI) -> None:
    """Answer 412 with another sentence if no tag in `If-Match` can ever match, so that a retry would not help."""
    app.add_exception_handler(PreconditionFailed, _on_precondition_failed)


async def _on_precondition_failed(request: Request, error: Any) -> Response:
    given = b",".join(value for name, value in request.scope["headers"] if name == _IF_MATCH)
    return problem_of(ForeignTag() if given and not _has_strong_tag_of_ours(given) else error)


async def get_condition(request: Request) -> Condition:
    """The condition that `If-Match` and `If-None-Match` state.

    Raises:
        Invalid: one of them is not a list of entity tags. RFC 9110 does not say what to do then. If the header were
            ignored, the request could overwrite somebody else's change.
    """
    match, none_match = [], []
    for name, value in request.scope["headers"]:
        if name == _IF_MATCH:
            match.append(value)
        elif name == _IF_NONE_MATCH:
            none_match.append(value)
    if not match and not none_match:
        return ALWAYS
    return Condition(
        _versions("If-Match", b",".join(match), weak=False) if match else None,
        _versions("If-None-Match", b",".join(none_match), weak=True) if none_match else [],
    )


RequestCondition = Annotated[Condition, Depends(get_condition)]


def _versions(name: str, value: bytes, *, weak: bool) -> list[datetime] | None:
    """The versions that the tags name; None for `*`, which means every version. Foreign tags name no version.

    Args:
        weak: whether weak tags count. They do in `If-None-Match` only (RFC 9110, 13.1.1 and 13.1.2).
    """
    if value.strip() == b"*":
        return None
    if not _is_list(value):
        raise Invalid.at("header", name, msg='Send * or a list of entity tags, as in "1-a", "1-b"', type="etags")
    named = [_own_version(tag) for tag in _tags(value)]
    return [_EPOCH + int(tag[2], 16) * _MICROSECOND for tag in named if tag and (weak or not tag[1])]


# Every list in ASCII that `get_condition` accepts. Swagger UI sends no other value.
_PATTERN = r'^(\*|((W/)?"[!#-~]*")?([ \t]*,([ \t]*(W/)?"[!#-~]*")?)*)$'
ETAG = {"ETag": header("The version, for `If-Match` and `If-None-Match`.", required=True)}
"""The header that `with_etag` adds, as OpenAPI describes it."""
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client already has the current version (`If-None-Match`).", "headers": ETAG}
}
"""OpenAPI `responses` of a route that answers with `not_modified_or`."""
PRECONDITION_FAILED = problem_responses(PreconditionFailed, ForeignTag)
"""OpenAPI `responses` of a route that takes a `RequestCondition`."""
_NONE_OF = "Entity tags, or `*` for any. If the resource has none of these versions, the answer is 412."
_ONE_OF = (
    "Entity tags, or `*` for any. If the resource has one of these versions, the answer to a read is 304, and to a"
    " write 412."
)
CONDITIONS = {
    "parameters": [
        header_parameter("If-Match", _NONE_OF, pattern=_PATTERN),
        header_parameter("If-None-Match", _ONE_OF, pattern=_PATTERN),
    ]
}
"""`openapi_extra` of a route that takes a `RequestCondition`."""
