"""Lists that clients sort: the parameters `sort`, `limit`, `cursor` and `total`, and the link to the next page.

The cursor of an order by a column holds the column's value and the id of the last row, so it stays right while rows
are added and removed. It works for this order only. The order by id has the cursor of `http.paging`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from zlib import crc32

from fastapi import Query, Request, Response
from pydantic import WithJsonSchema

from groundwork.data.database import Executor
from groundwork.data.listing import Listing, Order, Place
from groundwork.data.statement import Row
from groundwork.errors import Invalid
from groundwork.http.paging import MAX_LIMIT, Limit, bad_cursor, decode_cursor, encode_cursor
from groundwork.http.paths import request_path
from groundwork.http.problems import header
from groundwork.http.responses import LISTED, Responses

_TOTAL = "X-Total-Count"
_COUNT = header("The number of rows in all pages, with `total=true`.", "integer")
SORTED: Responses = {200: {"headers": {**LISTED[200]["headers"], _TOTAL: _COUNT}}}
"""OpenAPI `responses` of a list that takes a `Page`."""

Page = Callable[..., Awaitable[list[Row]]]
"""Reads the page that a request asks for: `await page(database, owner=user_id)` returns the rows.

It takes the parameters of the list and of its filters by name. A filter that is None is left out. The response gets a
`Link` to the next page, and the total if the request asks for it. A cursor that the service did not make for this
order raises `Invalid`.
"""

_BY_VALUE = b"\x02"
_CHECK_BYTES = 4
# With it, the headers of an answer still fit into the 4 KiB that some proxies take.
_MAX_BYTES = 2500
_SORT = Query(description="The order. With `-`, the greatest value comes first.")
_CURSOR = Query(description="Where the page starts: follow the previous page's `Link` header. It fits one order only.")


def pages(listing: Listing[Row], default: str = "-id") -> Callable[..., Awaitable[Page[Row]]]:
    """The dependency of a route that answers with pages of the list: `page: Annotated[Page, Depends(pages(LIST))]`.

    Args:
        default: the order of a request without `sort`. `-id` lists the newest row first, as other lists do.

    Raises:
        TypeError: the list has no such order.
    """
    if default not in listing.orders:
        raise TypeError(f"the list has no order {default}; choose one of {', '.join(listing.orders)}")
    sorts: Any = Literal[*listing.orders]

    async def page(
        request: Request,
        response: Response,
        sort: Annotated[sorts, _SORT] = default,  # pyright: ignore[reportInvalidTypeForm] - read at run time
        limit: Limit = MAX_LIMIT,
        cursor: Annotated[str | None, _CURSOR, WithJsonSchema({"type": "string", "format": "cursor"})] = None,
        *,
        total: Annotated[bool, Query(description=f"Whether the answer has `{_TOTAL}`. Counting takes longer.")] = False,
    ) -> Page[Row]:
        order = listing.orders[sort]

        async def read(database: Executor, **values: Any) -> list[Row]:
            after = None if cursor is None else decode_place(order, cursor)
            # One row more than the page holds shows whether there is a next page.
            found = await listing.page(database, sort, limit=limit + 1, after=after, **values)
            has_next = len(found) > limit
            if total:
                is_whole = after is None and not has_next
                response.headers[_TOTAL] = str(len(found) if is_whole else await listing.total(database, **values))
            if has_next:
                found.pop()
                place = await listing.place_of(database, sort, found[-1], **values)
                response.headers["Link"] = _link(request, encode_place(order, place))
            return found

        return read

    return page


def _link(request: Request, cursor: str) -> str:
    # A filter may occur several times. The total is left out, because the client has it.
    kept = [pair for pair in request.query_params.multi_items() if pair[0] not in ("cursor", "total")]
    return f'<{request_path(request)}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def encode_place(order: Order, place: Place) -> str:
    """The cursor of the page after this place: format, checksum, value and id, in base64url without padding.

    Raises:
        ValueError: the value is too long.
    """
    if order.by_id:
        return encode_cursor(place.id)
    packed = order.places.dump_json(place)
    if len(packed) > _MAX_BYTES:
        raise ValueError(f"the {order.column} of the row {place.id} is too long for a cursor: give it a max_length")
    return urlsafe_b64encode(_BY_VALUE + checksum(order, packed) + packed).rstrip(b"=").decode("ascii")


def decode_place(order: Order, cursor: str) -> Place:
    """The place after which the page starts.

    Raises:
        Invalid: `encode_place` did not make this cursor for the order.
    """
    try:
        if order.by_id:
            return Place(value := decode_cursor(cursor), value)
        packed = urlsafe_b64decode(f"{cursor}==")[len(_BY_VALUE) + _CHECK_BYTES :]
        place = Place(*order.places.validate_json(packed))
        if encode_place(order, place) != cursor:
            raise bad_cursor()
    except ValueError:
        raise Invalid.at("query", "cursor", msg=bad_cursor().message(), type=bad_cursor().type) from None
    return place


def checksum(order: Order, packed: bytes) -> bytes:
    """A checksum that binds a cursor to its order and shows that it is complete. It is not a secret."""
    described = f"{order.column.table.name} {order.name} {order.nulls_first} "
    return crc32(described.encode() + packed).to_bytes(_CHECK_BYTES)
