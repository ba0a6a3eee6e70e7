"""Keyset paging: a page starts after a given row. So page 1,000 costs as much as page 1."""

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

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The largest number of items in the page.")]


# The first byte of a cursor is its format. A new order of rows gets a new format, and old links keep working.
_BY_ID = b"\x01"


def encode_cursor(id: UUID) -> str:
    """The cursor of the page after the row with this id, in base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(_BY_ID + id.bytes).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str) -> UUID:
    """The id of the row after which the page starts.

    Raises:
        PydanticCustomError: `encode_cursor` did not make this cursor.
    """
    try:
        decoded = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        id = UUID(bytes=decoded[1:])
    except ValueError:
        raise bad_cursor() from None
    if not decoded.startswith(_BY_ID) or encode_cursor(id) != cursor:
        raise bad_cursor()
    return id


def bad_cursor() -> PydanticCustomError:
    """The error for a cursor that this service did not make."""
    return PydanticCustomError("cursor", "This service did not make this cursor; start again without one")


Cursor = Annotated[
    UUID | None,
    Query(description="Where the page starts: follow the previous page's `Link` header."),
    BeforeValidator(decode_cursor),
    WithJsonSchema({"type": "string", "format": "cursor"}),
]


def one_page(found: list[Row], limit: int, request: Request, response: Response) -> list[Row]:
    """The page's rows. If there is a next page, `response` gets a `Link` header to it (RFC 8288).

    Args:
        found: up to `limit + 1` rows. The row beyond the limit only shows that there is a next page.
        limit: the largest number of rows in a page.
    """
    if len(found) > limit:
        found.pop()
        query = {**request.query_params, "cursor": encode_cursor(found[-1].id)}
        # The target is relative to the host.
        response.headers["Link"] = f'<{request_path(request)}?{urlencode(query)}>; rel="next"'
    return found
