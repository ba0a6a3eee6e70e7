"""Lists in each order that a resource declares, in pages whose cost does not grow with the rows before them.

A page starts after a row: after its value in the column of the order, and after its id where values are equal. A column
that may be null has two parts, the rows with a value and those without. Both are read from one index on the owner, the
column and the id, in either direction, and the second only as far as the first has left room in the page.

PostgreSQL plans a statement once for all values. So there is a statement for each order, for each part in which a page
starts, and for each set of filters that requests give.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Generic, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import BindParameter, ColumnElement, Double, Float, Numeric, bindparam, func, inspect, tuple_, union_all
from sqlalchemy import select as select_columns
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import nulls_first_op
from sqlalchemy.sql.visitors import iterate

from groundwork.data.database import Executor
from groundwork.data.ownership import OWNER_ID
from groundwork.data.rows import LIMIT, Identified
from groundwork.data.statement import Row, Statement

NEWEST_FIRST = "-id"
"""The order that every list has, and the one without `sort`."""


class Place(NamedTuple):
    """Where a page starts: after the row that has this value in the column of the order, and this id."""

    value: Any
    id: UUID


class Order(NamedTuple):
    """An order of a list: by a column and, where values are equal, by id."""

    name: str
    """The column's key, as in the model of the rows; with a `-` before it if the order is descending."""
    column: Any
    id: Any
    nulls_first: bool

    @property
    def descending(self) -> bool:
        """Whether the greatest value comes first. This does not move the rows without a value."""
        return self.name.startswith("-")

    @property
    def by_id(self) -> bool:
        """Whether this is the order by id alone."""
        return self.column is self.id

    @property
    def parts(self) -> list[bool]:
        """The parts of the list in their order: True is the rows without a value."""
        return [self.nulls_first, not self.nulls_first] if self.column.nullable else [False]

    def place_of(self, row: Any) -> Place:
        """The place after this row of a page."""
        return Place(getattr(row, self.column.key), row.id)

    def page(self, rows: Any, part: bool | None) -> Any:
        """The statement of a page.

        Args:
            rows: selects the rows of the whole list, in no order.
            part: the part with the row after which the page starts. None for the first page.
        """
        parts = self.parts[self.parts.index(part) if part is not None else 0 :]
        first = self._part(rows, parts[0], after=part is not None).limit(LIMIT)
        if len(parts) == 1:
            return first
        first = first.cte("first_part")
        room = LIMIT - select_columns(func.count()).select_from(first).scalar_subquery()
        second = self._part(rows, parts[1], after=False).limit(room).cte("second_part")
        page = union_all(select_columns(first), select_columns(second)).subquery("page")
        return select_columns(page).order_by(*self._keys(page.c[self.column.key], page.c[self.id.key]))

    def _part(self, rows: Any, nulls: bool, *, after: bool) -> Any:
        if self.column.nullable:
            rows = rows.where(self.column.is_(None) if nulls else self.column.is_not(None))
        if after:
            rows = rows.where(self._after(nulls))
        # By the column even where it is null: else PostgreSQL would not see that the index has this order.
        return rows.order_by(*self._directed(*([] if self.by_id else [self.column]), self.id))

    def _after(self, nulls: bool) -> Any:
        key, value = self.id, bindparam("after_id", type_=self.id.type)
        if not (nulls or self.by_id):
            key = tuple_(self.column, self.id)
            value = tuple_(bindparam("after_value", type_=_compared_type(self.column.type)), value)
        return key < value if self.descending else key > value

    def _keys(self, column: Any, id: Any) -> Iterator[Any]:
        by_column, by_id = self._directed(column, id)
        yield by_column.nulls_first() if self.nulls_first else by_column.nulls_last()
        yield by_id

    def _directed(self, *columns: Any) -> list[Any]:
        return [each.desc() if self.descending else each.asc() for each in columns]


class Listing(Generic[Row]):
    """A list that clients sort and filter. `http.ordering` gives it to a route.

    Args:
        rows: a select of the model with `owned(model)`, without order and limit.
        model: the model of the rows.
        returns: the model of a row, with a field for each column of an order.
        orders: the columns by which the list may be sorted, each in both directions. Rows without a value come last
            in both; with `col(Model.name).nulls_first()` they come first. Each needs an index on the owner's column,
            this one and the id. The order by id needs no entry.
        filters: conditions with one parameter each, such as `col(Model.due_at) >= bindparam("due_from")`. A condition
            is in the statement only if its parameter is given.

    Raises:
        TypeError: a statement would be refused by `Statement`, a filter has not exactly one parameter, or a column of
            an order is no field of `returns`.
    """

    def __init__(
        self,
        rows: Any,
        model: type[Identified],
        returns: type[Row],
        *,
        orders: Sequence[Any],
        filters: Sequence[ColumnElement[bool]] = (),
    ) -> None:
        columns = inspect(model).local_table.c
        self.orders = {order.name: order for each in (columns.id, *orders) for order in _orders(each, columns)}
        """The orders by the names that clients give."""
        unknown = sorted({order.column.key for order in self.orders.values()} - {*returns.model_fields})
        if unknown:
            raise TypeError(f"{returns.__name__} needs the fields {unknown}: a page starts after the last row's values")
        conditions = {_parameter(each): each for each in filters}
        self._filters = frozenset(conditions)

        def filtered(given: frozenset[str]) -> Any:
            return rows.where(*(conditions[name] for name in sorted(given)))

        def page(sort: str, part: bool | None, given: frozenset[str]) -> Statement[Row]:
            return Statement(self.orders[sort].page(filtered(given), part), returns)

        def total(given: frozenset[str]) -> Statement[_Total]:
            counted = filtered(given).subquery()
            return Statement(select_columns(func.count().label("total")).select_from(counted), _Total)

        self._page, self._total = cache(page), cache(total)
        # What is refused is refused at import. If a filter alone names the owner of what it reaches, all together do.
        for order in self.orders.values():
            for part in (None, *order.parts):
                self._page(order.name, part, frozenset())
        for name in conditions:
            self._total(frozenset({name}))

    async def page(
        self, database: Executor, sort: str, *, limit: int, after: Place | None = None, **values: Any
    ) -> list[Row]:
        """The rows of a page.

        Args:
            sort: the name of the order.
            limit: the largest number of rows.
            after: where the page starts; None for the first page.
            values: the parameters of the list, such as `owner`, and of the filters. A filter that is None is left out.
        """
        order, given = self.orders[sort], self._given(values)
        place: dict[str, Any] = {}
        part = None
        if after is not None:
            part, place = after.value is None, {"after_id": after.id}
            if not (part or order.by_id):
                place["after_value"] = after.value
        statement = self._page(sort, part, self._filters.intersection(given))
        return await database.all(statement, limit=limit, **place, **given)

    async def total(self, database: Executor, **values: Any) -> int:
        """How many rows the list has. Its cost grows with their number.

        Args:
            values: as in `page`.
        """
        given = self._given(values)
        found = await database.one(self._total(self._filters.intersection(given)), **given)
        return found.total if found else 0

    def _given(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None or name not in self._filters}


class _Total(BaseModel):
    total: int


def _orders(column: Any, columns: Any) -> Iterator[Order]:
    """The orders by the column, descending and ascending."""
    nulls_first = isinstance(column, UnaryExpression) and column.modifier is nulls_first_op
    plain = columns[(column.element if nulls_first else column).key]
    for sign in ("-", ""):
        yield Order(f"{sign}{plain.key}", plain, columns.id, nulls_first)


def _parameter(condition: ColumnElement[bool]) -> str:
    """The name of the filter's parameter."""
    names = {each.key for each in iterate(condition) if isinstance(each, BindParameter) and each.required}
    names -= {OWNER_ID.key}
    if len(names) != 1:
        raise TypeError(f"a filter takes one parameter, not {sorted(names)}: {condition}")
    return names.pop()


def _compared_type(type_: Any) -> Any:
    """The type of a value that is compared with a column: without limits that the value of a cursor could break."""
    if isinstance(type_, Float):
        return Double()
    return Numeric() if isinstance(type_, Numeric) else type_
