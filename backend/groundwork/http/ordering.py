"""Lists that clients sort: the parameters `sort`, `limit`, `cursor` and `total`, and the link to the next page.

The cursor of an order by a column holds the column's value and the id of the last row, so it stays right while rows
come and go. It is bound to its order. The order by id has the cursor of `http.paging`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Generic, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, Field, NaiveDatetime, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema
from sqlalchemy import BigInteger, SmallInteger, TypeDecorator
from sqlalchemy import Enum as EnumType

from groundwork.data.database import Executor
from groundwork.data.listing import NEWEST_FIRST, Listing, Order, Place
from groundwork.data.statement import Row
from groundwork.errors import Invalid
from groundwork.http.paging import MAX_LIMIT, Limit, bad_cursor, decode_cursor, encode_cursor
from groundwork.http.paths import request_path
from groundwork.http.responses import LISTED, Responses
from groundwork.text import without_nul

_TOTAL = "X-Total-Count"
_HEADER = {"description": "How many rows all pages have; there with `total=true`.", "schema": {"type": "integer"}}

SORTED: Responses = {200: {"headers": {**LISTED[200]["headers"], _TOTAL: _HEADER}}}
"""OpenAPI `responses` of a list that takes a `Page`."""

_BY_VALUE = b"\x02"
_CHECK_BYTES, _ID_BYTES = 6, 16
_DIGITS = 1000
"""More than PostgreSQL lets a column declare. A number of a million digits would take memory to send."""


class Page(Generic[Row]):
    """What a request asks of a list. `pages` makes the dependency that reads it from the query."""

    def __init__(
        self,
        listing: Listing[Row],
        request: Request,
        response: Response,
        *,
        sort: str,
        limit: int,
        cursor: str | None,
        total: bool,
    ) -> None:
        self._listing, self._request, self._response = listing, request, response
        self._order, self._limit, self._cursor, self._wants_total = listing.orders[sort], limit, cursor, total

    async def read(self, database: Executor, **values: Any) -> list[Row]:
        """The page's rows. The response gets a `Link` to the next page, and the total if the request asks for it.

        Args:
            values: the parameters of the list, such as `owner`, and of its filters. A filter that is None is left out.

        Raises:
            Invalid: the cursor was not given out for this order.
        """
        after = None if self._cursor is None else _read(self._order, self._cursor)
        # One row more than the page holds shows whether there is a next page.
        found = await self._listing.page(database, self._order.name, limit=self._limit + 1, after=after, **values)
        has_next = len(found) > self._limit
        if self._wants_total:
            is_whole = after is None and not has_next
            total = len(found) if is_whole else await self._listing.total(database, **values)
            self._response.headers[_TOTAL] = str(total)
        if has_next:
            found.pop()
            self._link(encode_place(self._order, self._order.place_of(found[-1])))
        return found

    def _link(self, cursor: str) -> None:
        # A filter may occur several times. The total is left out, because the client has it.
        kept = [pair for pair in self._request.query_params.multi_items() if pair[0] not in ("cursor", "total")]
        query = urlencode([*kept, ("cursor", cursor)])
        self._response.headers["Link"] = f'<{request_path(self._request)}?{query}>; rel="next"'


def pages(listing: Listing[Row], default: str = NEWEST_FIRST) -> Callable[..., Awaitable[Page[Row]]]:
    """The dependency of a route that answers with pages of the list: `page: Annotated[Page, Depends(pages(LIST))]`.

    Args:
        default: the order without `sort`.

    Raises:
        TypeError: the list has no such order, or a cursor cannot hold the values of a column.
    """
    if default not in listing.orders:
        raise TypeError(f"the list has no order {default}; there are {', '.join(listing.orders)}")

    for order in listing.orders.values():
        _values(order)

    async def page(
        request: Request,
        response: Response,
        sort: Annotated[
            str, _OneOf(listing.orders), Query(description="The order. With `-`, the greatest value comes first.")
        ] = default,
        limit: Limit = MAX_LIMIT,
        cursor: _CursorText = None,
        total: Annotated[bool, Query(description=f"Whether the answer has `{_TOTAL}`, which takes longer.")] = False,
    ) -> Page[Row]:
        return Page(listing, request, response, sort=sort, limit=limit, cursor=cursor, total=total)

    return page


_CursorText = Annotated[
    str | None,
    Query(description="Where the page starts: follow the previous page's `Link` header. It fits one order only."),
    WithJsonSchema({"type": "string", "format": "cursor"}),
]


class _OneOf:
    """The type of a text that is one of these, in the OpenAPI document too."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [*texts]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(self._texts)


def encode_place(order: Order, place: Place) -> str:
    """The cursor of the page after a row: format, checksum, id and value, in base64url without padding."""
    if order.by_id:
        return encode_cursor(place.id)
    value = b"" if place.value is None else _values(order).dump_json(place.value)
    packed = place.id.bytes + value
    return urlsafe_b64encode(_BY_VALUE + _check(order, packed) + packed).rstrip(b"=").decode("ascii")


def decode_place(order: Order, cursor: str) -> Place:
    """The place of the row after which the page starts.

    Raises:
        PydanticCustomError: `encode_place` did not make this cursor for the order.
    """
    if order.by_id:
        id = decode_cursor(cursor)
        return Place(id, id)
    start = len(_BY_VALUE) + _CHECK_BYTES
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        id, value = UUID(bytes=packed[start : start + _ID_BYTES]), packed[start + _ID_BYTES :]
        place = Place(_values(order).validate_json(value) if value else None, id)
        is_ours = encode_place(order, place) == cursor and (value or order.column.nullable)
    except ValueError:
        raise bad_cursor() from None
    if not is_ours:
        raise bad_cursor()
    return place


def _read(order: Order, cursor: str) -> Place:
    try:
        return decode_place(order, cursor)
    except PydanticCustomError as error:
        raise Invalid.at("query", "cursor", msg=error.message(), type=error.type) from None


def _check(order: Order, packed: bytes) -> bytes:
    """Binds a cursor to its order, and shows that it is whole. It keeps nothing secret, and a client may compute it."""
    described = f"{order.column.table.name} {order.name} {order.nulls_first} "
    return sha256(described.encode() + packed).digest()[:_CHECK_BYTES]


@cache
def _values(order: Order) -> TypeAdapter[Any]:
    """Writes a value of the order's column as JSON, and reads only what PostgreSQL can compare with the column."""
    return TypeAdapter(_value_type(order.column.type), config={"ser_json_inf_nan": "constants"})


def _value_type(type_: Any) -> Any:
    if isinstance(type_, TypeDecorator):
        return _value_type(type_.impl_instance)
    python = type_.python_type
    if python is datetime:
        return Annotated[AwareDatetime, AfterValidator(_in_utc)] if type_.timezone else NaiveDatetime
    if python is int:
        bits = 15 if isinstance(type_, SmallInteger) else 63 if isinstance(type_, BigInteger) else 31
        return Annotated[int, Field(ge=-(2**bits), lt=2**bits)]
    if isinstance(type_, EnumType):
        return type_.enum_class or Literal[*type_.enums]
    if python is str:
        return Annotated[str, AfterValidator(without_nul)]
    if python is Decimal:
        return Annotated[Decimal, Field(max_digits=_DIGITS)]
    if python in (bool, date, float, UUID):
        return python
    raise TypeError(f"a list cannot be sorted by a column of the type {type_}, whose values a cursor cannot hold")


def _in_utc(value: datetime) -> datetime:
    # As PostgreSQL returns it. Another offset could lead beyond the year 1 or 9999.
    if value.utcoffset() != UTC.utcoffset(None):
        raise ValueError
    return value
