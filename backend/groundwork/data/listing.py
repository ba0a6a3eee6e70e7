"""Lists that clients sort and filter. The cost of a page does not grow with the number of rows before it.

This is keyset pagination: a page starts after the last row of the page before, by its value in the sort column and,
where values are equal, by its id. A column that may be null splits the list into two parts, the rows with a value and
the rows without. One index on the owner, the column and the id serves both parts in both directions. The second part
only fills the room that the first one leaves in the page.

PostgreSQL plans a statement once for all values. So there is a statement for each order, for each part in which a page
starts, and for each set of filters that requests give.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Generic, NamedTuple
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from sqlalchemy import BindParameter, ColumnElement, bindparam, func, select, tuple_, union_all
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import nulls_first_op
from sqlalchemy.sql.visitors import iterate

from groundwork.data.database import Executor
from groundwork.data.key_types import AMBIGUOUS, key_types
from groundwork.data.ownership import OWNER_ID
from groundwork.data.rows import LIMIT
from groundwork.data.statement import Row, Statement
from groundwork.data.statement_names import origin


class Place(NamedTuple):
    """Where a page starts: after the row that has this value in the column of the order, and this id."""

    value: Any
    id: UUID


class Order:
    """An order of a list: by a column and, where values are equal, by id.

    Args:
        column: the column. Rows without a value come last, or first if it is `column.nulls_first()`.
        id: the column with the id.
        sign: "-" if the greatest value comes first. It does not move the rows without a value.
    """

    def __init__(self, column: Any, id: Any, sign: str) -> None:
        self.nulls_first = isinstance(column, UnaryExpression) and column.modifier is nulls_first_op
        self.column: Any = column.element if self.nulls_first else column
        self.id = id
        self.name, self._descending, self.by_id = f"{sign}{self.column.key}", sign == "-", self.column.key == id.key
        value, self._after_value = key_types(self.column.type)
        place: Any = tuple[value | None, UUID] if self.column.nullable else tuple[value, UUID]  # type: ignore[valid-type]
        # Writes a place as JSON, and reads it.
        self.places = TypeAdapter[Any](place, config={"ser_json_inf_nan": "constants"})
        # For each part, whether it has the rows without a value.
        self._parts = [self.nulls_first, not self.nulls_first] if self.column.nullable else [False]
        # Where a page can start: None for the first page, else the number of a part.
        self.starts = [None, *range(len(self._parts))]

    def start(self, after: Place | None) -> int | None:
        """The part in which the page after this place starts. None for the first page."""
        return None if after is None else self._parts.index(after.value is None)

    def page(self, rows: Any, start: int | None) -> Any:
        """The statement of a page.

        Args:
            rows: selects the rows of the whole list, in no order.
            start: as `start` returns it.
        """
        parts = [self._part(rows, part) for part in range(start or 0, len(self._parts))]
        if start is not None:
            parts[0] = parts[0].where(self._is_after(start))
        if len(parts) == 1:
            return parts[0]
        first = parts[0].cte()
        second = parts[1].limit(LIMIT - select(func.count()).select_from(first).scalar_subquery()).cte()
        page = union_all(select(first), select(second)).subquery()
        by_column, by_id = self._directed(page.c[self.column.key], page.c[self.id.key])
        return select(page).order_by(by_column.nulls_first() if self.nulls_first else by_column.nulls_last(), by_id)

    def _part(self, rows: Any, part: int) -> Any:
        if self.column.nullable:
            rows = rows.where(self.column.is_(None) if self._parts[part] else self.column.is_not(None))
        # By the column even where it is null. Otherwise PostgreSQL does not see that the index has this order.
        return rows.order_by(*self._directed(*([] if self.by_id else [self.column]), self.id)).limit(LIMIT)

    def _is_after(self, part: int) -> Any:
        key, value = self.id, bindparam("after_id", type_=self.id.type)
        if not (self._parts[part] or self.by_id):
            key = tuple_(self.column, key)
            value = tuple_(self._after_value, value)  # type: ignore[assignment]
        return key < value if self._descending else key > value

    def _directed(self, *columns: Any) -> list[Any]:
        return [each.desc() if self._descending else each.asc() for each in columns]


class Listing(Generic[Row]):
    """A list that clients sort and filter. `http.ordering.pages` gives it to a route.

    Args:
        rows: a select of a model with `owned(model)`, without order and limit.
        returns: the model of a row.
        orders: the selected columns by which the list may be sorted, each in both directions. Rows without a value come
            last in both; with `col(Model.name).nulls_first()` they come first. Each column needs an index on the
            owner's column, itself and the id. The order by id needs no entry.
        filters: conditions with one parameter each, such as `col(Model.due_at) >= bindparam("due_from")`. A condition
            is in the statement only if its parameter is given.
        everybody: why the list has everybody's rows, as in `Statement`. `owned(model)` is not needed then, and the
            indexes begin with the column of the order.

    Raises:
        TypeError: `Statement` refuses a statement of the list, `rows` has an order or a limit, a filter does not have
            exactly one parameter of its own, a column of an order is not selected, or a cursor cannot hold its values.
    """

    def __init__(
        self,
        rows: Any,
        returns: type[Row],
        *,
        orders: Sequence[Any],
        filters: Sequence[Any] = (),
        everybody: str | None = None,
    ) -> None:
        selected = rows.selected_columns
        made = [Order(column, selected.id, sign) for column in (selected.id, *orders) for sign in ("-", "")]
        if missing := sorted({order.column.key for order in made} - {*selected.keys()}):
            raise TypeError(
                f"the list does not select {missing}: the next page starts after their values; add them to the select"
            )
        self.orders = {order.name: order for order in made}
        conditions = {_parameter(each): each for each in filters}
        if len(conditions) != len(filters):
            raise TypeError(f"two filters take one parameter, of {sorted(conditions)}: give each a name of its own")
        if not rows.compare(rows.order_by(None).limit(None)):
            raise TypeError("the list adds its own order and limit: leave out order_by() and limit()")
        self._filters = frozenset(conditions)
        named = cache(origin().name)

        def filtered(given: frozenset[str]) -> Any:
            return rows.where(*(conditions[name] for name in sorted(given)))

        def page(sort: str, start: int | None, given: frozenset[str]) -> Statement[Row]:
            selected = self.orders[sort].page(filtered(given), start)
            return Statement(selected, returns, everybody=everybody, name=named())

        def total(given: frozenset[str]) -> Statement[_Total]:
            counting = select(func.count().label("total")).select_from(filtered(given).subquery())
            return Statement(counting, _Total, everybody=everybody, name=f"{named()}_total")

        def infinite(sort: str) -> Statement[Row]:
            order = self.orders[sort]
            is_infinite = order.id == bindparam("after_id"), ~func.isfinite(order.column)
            return Statement(rows.where(*is_infinite), returns, everybody=everybody, name=f"{named()}_infinite")

        self._page, self._total, self._infinite = cache(page), cache(total), cache(infinite)
        # Made here, so that what `Statement` refuses is refused at import. Filters that pass alone also pass together.
        for order in made:
            for start in order.starts:
                self._page(order.name, start, frozenset())
        for name in conditions:
            self._total(frozenset({name}))

    async def page(
        self, database: Executor, sort: str, *, limit: int, after: Place | None = None, **values: Any
    ) -> list[Row]:
        """The rows of a page.

        Args:
            sort: the name of the order.
            limit: the largest number of rows.
            after: where the page starts. None for the first page.
            values: the parameters of the list, such as `owner`, and of the filters. Those that are None are left out.
        """
        order, given = self.orders[sort], _given(values)
        if after is not None:
            given["after_id"] = after.id
            if not (after.value is None or order.by_id):
                given["after_value"] = after.value
        statement = self._page(sort, order.start(after), self._filters.intersection(given))
        return await database.all(statement, limit=limit, **given)

    async def place_of(self, database: Executor, sort: str, row: Any, **values: Any) -> Place:
        """The place after this row of a page. `values` are those of `page`."""
        value = getattr(row, self.orders[sort].column.key)
        if value in AMBIGUOUS:
            statement = self._infinite(sort)
            if await database.one(statement, **statement.own_values({**values, "after_id": row.id})):
                value = "infinity" if value.year > 1 else "-infinity"
        return Place(value, row.id)

    async def total(self, database: Executor, **values: Any) -> int:
        """How many rows the list has. The time to count grows with the number. `values` are those of `page`."""
        given = _given(values)
        found = await database.one(self._total(self._filters.intersection(given)), **given)
        return found.total if found else 0


class _Total(BaseModel):
    total: int


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parameter(condition: ColumnElement[bool]) -> str:
    """The name of the filter's parameter."""
    names = {each.key for each in iterate(condition) if isinstance(each, BindParameter) and each.required}
    if len(names - {OWNER_ID.key}) != 1:
        raise TypeError(
            f"a filter takes one parameter, not {sorted(names)}: {condition}; write one bindparam() in each filter"
        )
    return (names - {OWNER_ID.key}).pop()
