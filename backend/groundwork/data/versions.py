"""Statements that write a row only if the row still has a certain version. A row's version is its `updated_at`.

A client that reads a row and writes it back must not undo another client's change in between. The version is a
condition of the statement that writes, so nothing can happen between the check and the write.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Generic, NamedTuple, NoReturn, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col

from groundwork.data.database import Executor
from groundwork.data.known_tables import owner_of
from groundwork.data.rows import Identified, require_found
from groundwork.data.statement import NO_CONFLICTS, Row, Statement
from groundwork.data.statement_names import origin
from groundwork.errors import AppError, Forbidden, PreconditionFailed

_TIMESTAMPS = sa.ARRAY(sa.DateTime(timezone=True))
# Arrays are sent as text: for an array of timestamps asyncpg would look up the type on each new connection.
_ANY_OF, _NONE_OF = sa.bindparam("any_of", type_=sa.Text), sa.bindparam("none_of", type_=sa.Text)
_ROLE_MISSING = "Your role does not allow this: ask an administrator of the group for another."


class Versioned(Protocol):
    """A row or its representation. Each change of the row moves `updated_at` forward."""

    updated_at: datetime


class VersionedRow(Identified, Versioned, Protocol):
    """A model with an owner, an id and a version."""


class Condition(NamedTuple):
    """A request's condition on the version of a row: the version must be in `any_of` and not in `none_of`."""

    any_of: list[datetime] | None = None
    """The versions in the `If-Match` header. None means every version."""
    none_of: list[datetime] | None = []  # noqa: RUF012 - never changed
    """The versions in the `If-None-Match` header. None means every version."""

    def wants(self, version: datetime) -> bool:
        """Whether the version is in `any_of`."""
        return self.any_of is None or version in self.any_of

    def excludes(self, version: datetime) -> bool:
        """Whether the version is in `none_of`."""
        return self.none_of is None or version in self.none_of

    def require(self, resource: Any) -> None:
        """Check that the condition holds for a row.

        Args:
            resource: a row with `updated_at`. Its type is Any because a type variable that is bound to a model cannot
                also be bound to `Versioned`.

        Raises:
            PreconditionFailed: the condition does not hold for the row's version.
        """
        if not self.wants(resource.updated_at) or self.excludes(resource.updated_at):
            raise PreconditionFailed

    def values(self) -> dict[str, Any]:
        """The parameters that this condition adds to the statement of a `VersionedStatement`."""
        if self is ALWAYS:
            return {}
        any_of = [] if self.none_of is None else self.any_of
        return {"any_of": None if any_of is None else _array(any_of), "none_of": _array(self.none_of or [])}


ALWAYS = Condition()
"""The condition of a request without a conditional header. It holds for every version."""


class Rule(NamedTuple):
    """What must hold of a row so that a statement writes it, such as `Rule(col(Order.status) != "sent", OrderSent)`."""

    holds: sa.ColumnElement[bool]
    broken: type[AppError]
    """The error if it does not hold."""


class VersionedStatement(Generic[Row]):
    """A statement that writes a row, with a second form that checks the row's version.

    There are two forms so that a request without a condition pays nothing for the check.

    Args:
        statement: an update or a delete with `where(owned_row(model))`.
        model: the model of the row.
        get: reads the row. It is run when nothing was written, to find out why. Its parameters are among the
            statement's.
        returns, conflicts, name: as in `Statement`.
        rule: what must hold of the row. It is a condition of the statement, so nothing can happen between the check and
            the write.

    Raises:
        TypeError: the statement is no update or delete, or leaves the version as it was; or `get` takes a parameter
            that the statement does not; or the rule names no error.
    """

    def __init__(
        self,
        statement: Any,
        model: type[VersionedRow],
        get: Statement[Row],
        returns: type[Row] | None = None,
        conflicts: Mapping[str, str] = NO_CONFLICTS,
        *,
        rule: Rule | None = None,
        name: str | None = None,
    ) -> None:
        is_update = isinstance(statement, sa.Update)
        if not (is_update or isinstance(statement, sa.Delete)):
            raise TypeError(
                f"a version is checked where a row is written, and this is {type(statement).__name__}: give update() or"
                " delete(), or make it a Statement"
            )
        if rule and not (isinstance(rule.broken, type) and issubclass(rule.broken, AppError)):
            raise TypeError(f"the rule ends in {rule.broken!r}: give a class that is derived from AppError")
        # A member of a group may be allowed to see a row but not to write it.
        owns = owner_of(sa.inspect(model).local_table)
        self._is_shared = owns is not None and owns.members is not None
        self._rule, self._without_rule = rule, None
        if rule:
            if self._is_shared:
                known: Any = statement.whereclause
                self._without_rule = Statement[Any](sa.select(col(model.id)).where(known), name=name)
            statement = statement.where(rule.holds)
        self.always: Statement[Row] = Statement(statement, returns, conflicts, name=name)
        self.guarded: Statement[Row] = Statement(statement.where(_holds(model)), returns, conflicts, name=name)
        version: Any = col(model.updated_at)
        # Only SET has no blank before the sign. A name that is not in lower case is quoted.
        if is_update and f" {version.name}=" not in self.always.sql.replace('"', ""):
            raise TypeError(f"the update leaves the version as it was: add updated_at=later({model.__name__})")
        if unknown := get.names - self.always.names:
            raise TypeError(f"get takes {sorted(unknown)}, which the statement does not: give both the same parameters")
        self._model, self._get = model, get

    async def one(self, database: Executor, condition: Condition, *, owner: str, id: UUID, **values: Any) -> Row:
        """Run the statement and return the row as it was written.

        Args:
            values: the statement's other parameters, such as the group of the row.

        Raises:
            NotFound: the owner has no such row.
            PreconditionFailed: the condition does not hold.
            Forbidden: a member of the row's group lacks the role that the statement asks for.
            AppError: the error of the rule, which does not hold.
        """
        if condition is not ALWAYS:
            values |= condition.values()
        row = await database.one(self._under(condition), owner=owner, id=id, **values)
        return row or await self._explain(database, condition, owner=owner, id=id, **values)

    async def execute(self, database: Executor, condition: Condition, *, owner: str, id: UUID, **values: Any) -> None:
        """Run a statement that returns no row. Arguments and errors are those of `one`."""
        values |= condition.values()
        if not await database.execute(self._under(condition), owner=owner, id=id, **values):
            await self._explain(database, condition, owner=owner, id=id, **values)

    def _under(self, condition: Condition) -> Statement[Row]:
        return self.always if condition is ALWAYS else self.guarded

    async def _explain(self, database: Executor, condition: Condition, **values: Any) -> NoReturn:
        """Raise the reason why nothing was written."""
        row = None
        if condition is not ALWAYS or self._is_shared or self._rule:
            row = await database.one(self._get, **self._get.own_values(values))
        found = require_found(row, self._model)
        if self._is_shared or self._rule:
            condition.require(found)
        # If the user has the role that the statement asks for, it is the rule that does not hold.
        known = self._without_rule
        if self._is_shared and not (known and await database.execute(known, **known.own_values(values))):
            raise Forbidden(_ROLE_MISSING)
        raise self._rule.broken if self._rule else PreconditionFailed


class PartialUpdate(Generic[Row]):
    """An update of the columns that a request sets. For each set of columns, a statement is made when first needed.

    Args:
        statement: `update(model).where(owned_row(model))`. The values and RETURNING are added here.
        model, get, returns, conflicts, rule: as in `VersionedStatement`. `get` takes the same parameters as the
            conditions of `statement`.
    """

    def __init__(
        self,
        statement: sa.Update,
        model: type[VersionedRow],
        get: Statement[Row],
        returns: type[Row],
        conflicts: Mapping[str, str] = NO_CONFLICTS,
        *,
        rule: Rule | None = None,
    ) -> None:
        made = origin()

        def writing(columns: frozenset[str]) -> VersionedStatement[Row]:
            values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
            whole = statement.values(**values, updated_at=later(model)).returning(model)
            return VersionedStatement(whole, model, get, returns, conflicts, rule=rule, name=made.name())

        self.writing = cache(writing)
        # One is made at import, so that a forgotten owner stops the program at start-up.
        self.writing(frozenset())
        self._model, self._get = model, get

    async def one(
        self, database: Executor, condition: Condition, changes: dict[str, Any], *, owner: str, id: UUID, **keys: Any
    ) -> Row:
        """Write the changes and return the row. Without changes, the row is only read.

        Args:
            keys: the other parameters of the conditions, such as the group of the row.

        Raises:
            NotFound: the owner has no such row.
            PreconditionFailed: the condition does not hold.
            Forbidden: a member of the row's group lacks the role that the update asks for.
            AppError: the error of the rule, which does not hold.
        """
        if changes:
            statement = self.writing(frozenset(changes))
            return await statement.one(database, condition, owner=owner, id=id, **keys, **changes)
        row = require_found(await database.one(self._get, owner=owner, id=id, **keys), self._model)
        condition.require(row)
        return row


def _holds(model: type[Versioned]) -> sa.ColumnElement[bool]:
    version = col(model.updated_at)
    return sa.and_(
        sa.or_(_ANY_OF.is_(None), version == sa.any_(sa.cast(_ANY_OF, _TIMESTAMPS))),
        version != sa.all_(sa.cast(_NONE_OF, _TIMESTAMPS)),
    )


def later(model: type[Versioned]) -> sa.ColumnElement[datetime]:
    """The SQL expression for the `updated_at` of the next version.

    It is later than the last one even if the database's clock is set back, or if two changes fall into one microsecond.
    """
    return sa.func.greatest(sa.func.now(), col(model.updated_at) + timedelta(microseconds=1))


def _array(versions: list[datetime]) -> str:
    return "{" + ",".join(version.isoformat() for version in versions) + "}"
