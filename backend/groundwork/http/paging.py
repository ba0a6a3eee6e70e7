"""Keyset paging: a page starts after a row, not after a count of rows, so that page 1,000 costs what page 1 does."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from groundwork.data.rows import Identified
from groundwork.http.paths import request_path

MAX_LIMIT = 1000
Row = TypeVar("Row", bound=Identified)

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]


# A cursor's first byte says how to read the rest, so that another order can come without breaking old links.
_BY_ID = b"\x01"


def encode_cursor(id: UUID) -> str:
    return urlsafe_b64encode(_BY_ID + id.bytes).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str) -> UUID:
    """
    Raises:
        PydanticCustomError: no cursor that `encode_cursor` made.
    """
    try:
        decoded = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        id = UUID(bytes=decoded[1:])
    except ValueError:
        raise _bad_cursor() from None
    if not decoded.startswith(_BY_ID) or encode_cursor(id) != cursor:
        raise _bad_cursor()
    return id


def _bad_cursor() -> PydanticCustomError:
    return PydanticCustomError("cursor", "Not a cursor that this service gave out; start again without one")


Cursor = Annotated[
    UUID | None,
    Query(description="Where the page starts: follow the previous page's `Link` header."),
    BeforeValidator(decode_cursor),
    WithJsonSchema({"type": "string", "format": "cursor"}),
]


def one_page(found: list[Row], limit: int, request: Request, response: Response) -> list[Row]:
    """At most `limit` of the rows, of which one more was asked for: when it is there, the page links to the next."""
    if len(found) > limit:
        found.pop()
        _link_next_page(request, response, found[-1].id)
    return found


def _link_next_page(request: Request, response: Response, last_id: UUID) -> None:
    """Add the `Link` header (RFC 8288) to the page after the row `last_id`. Its target is relative to this host."""
    query = {**request.query_params, "cursor": encode_cursor(last_id)}
    response.headers["Link"] = f'<{request_path(request)}?{urlencode(query)}>; rel="next"'
