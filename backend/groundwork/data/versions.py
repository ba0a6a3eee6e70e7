"""The versions of a row, told apart by `updated_at`, and statements that write one version only.

Whoever reads a row and writes it back must not undo what another has changed in between. The version is a condition of
the statement that writes, so there is no moment between looking and writing.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Generic, NamedTuple, NoReturn, Protocol
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, DateTime, Text, Update, all_, and_, any_, bindparam, cast, func, or_
from sqlmodel import col

from groundwork.data.database import Executor
from groundwork.data.rows import Identified, require_found
from groundwork.data.statement import NO_CONFLICTS, Row, Statement
from groundwork.errors import PreconditionFailed

_MOMENTS = ARRAY(DateTime(timezone=True))
# Arrays as text: asyncpg would ask the server, on each new connection, what an array of moments is.
_ANY_OF, _NONE_OF = bindparam("any_of", type_=Text), bindparam("none_of", type_=Text)


class Versioned(Protocol):
    """A row, or what represents it, whose every change moves `updated_at` forward."""

    updated_at: datetime


class VersionedRow(Identified, Versioned, Protocol):
    """A row of a resource."""


class Condition(NamedTuple):
    """For which versions a request is meant.

    `any_of` is None when every version will do, `none_of` when none will.
    """

    any_of: list[datetime] | None = None
    none_of: list[datetime] | None = []  # noqa: RUF012 - never changed

    def wants(self, version: datetime) -> bool:
        return self.any_of is None or version in self.any_of

    def excludes(self, version: datetime) -> bool:
        return self.none_of is None or version in self.none_of

    def require(self, resource: Any) -> None:
        """
        Args:
            resource: what is `Versioned`; a type variable that is a model cannot also say that.

        Raises:
            PreconditionFailed: it is in another version.
        """
        if not self.wants(resource.updated_at) or self.excludes(resource.updated_at):
            raise PreconditionFailed

    def values(self) -> dict[str, Any]:
        """What the statement takes that `VersionedStatement` chooses for this condition."""
        if self is ALWAYS:
            return {}
        any_of = [] if self.none_of is None else self.any_of
        return {"any_of": None if any_of is None else _array(any_of), "none_of": _array(self.none_of or [])}


ALWAYS = Condition()


class VersionedStatement(Generic[Row]):
    """A statement that writes a row, and the same for certain versions only: a request without a condition costs none.

    Args:
        statement: an update or a delete of `this(model)`.
        model: the row's.
        get: reads the row; where nothing was written, it tells why.
        returns, conflicts: as in `Statement`.
    """

    def __init__(
        self,
        statement: Any,
        model: type[VersionedRow],
        get: Statement[Row],
        returns: type[Row] | None = None,
        conflicts: Mapping[str, str] = NO_CONFLICTS,
    ) -> None:
        self.always: Statement[Row] = Statement(statement, returns, conflicts)
        self.guarded: Statement[Row] = Statement(statement.where(_holds(model)), returns, conflicts)
        self._model, self._get = model, get

    async def one(self, database: Executor, condition: Condition, *, owner: str, id: UUID, **values: Any) -> Row:
        """The row as it was written.

        Raises:
            NotFound: the owner has no such row.
            PreconditionFailed: the condition does not hold.
        """
        row = await database.one(self._under(condition), owner=owner, id=id, **values, **condition.values())
        return row or await self._explain(database, condition, owner, id)

    async def execute(self, database: Executor, condition: Condition, *, owner: str, id: UUID) -> None:
        """The same for a statement that returns nothing."""
        if not await database.execute(self._under(condition), owner=owner, id=id, **condition.values()):
            await self._explain(database, condition, owner, id)

    def _under(self, condition: Condition) -> Statement[Row]:
        return self.always if condition is ALWAYS else self.guarded

    async def _explain(self, database: Executor, condition: Condition, owner: str, id: UUID) -> NoReturn:
        """Say why nothing was written."""
        row = None if condition is ALWAYS else await database.one(self._get, owner=owner, id=id)
        require_found(row, self._model)
        raise PreconditionFailed


class PartialUpdate(Generic[Row]):
    """An update of the columns that a request gives: a statement for each set of them, made when it is first needed.

    Args:
        statement: `update(model).where(this(model))`; the values and RETURNING are added here.
        model, get, returns, conflicts: as in `VersionedStatement`.
    """

    def __init__(
        self,
        statement: Update,
        model: type[VersionedRow],
        get: Statement[Row],
        returns: type[Row],
        conflicts: Mapping[str, str] = NO_CONFLICTS,
    ) -> None:
        def writing(columns: frozenset[str]) -> VersionedStatement[Row]:
            values: dict[str, Any] = {name: bindparam(name) for name in columns}
            whole = statement.values(**values, updated_at=later(model)).returning(model)
            return VersionedStatement(whole, model, get, returns, conflicts)

        self.writing = cache(writing)
        # At import, so that a forgotten owner stops the program from starting.
        self.writing(frozenset())
        self._model, self._get = model, get

    async def one(
        self, database: Executor, condition: Condition, changes: dict[str, Any], *, owner: str, id: UUID
    ) -> Row:
        """The row with these changes; when there are none, as it is.

        Raises:
            NotFound: the owner has no such row.
            PreconditionFailed: the condition does not hold.
        """
        if changes:
            statement = self.writing(frozenset(changes))
            return await statement.one(database, condition, owner=owner, id=id, **changes)
        row = require_found(await database.one(self._get, owner=owner, id=id), self._model)
        condition.require(row)
        return row


def _holds(model: type[Versioned]) -> ColumnElement[bool]:
    version = col(model.updated_at)
    return and_(
        or_(_ANY_OF.is_(None), version == any_(cast(_ANY_OF, _MOMENTS))),
        version != all_(cast(_NONE_OF, _MOMENTS)),
    )


def later(model: type[Versioned]) -> ColumnElement[datetime]:
    """The next version's `updated_at`.

    It moves forward even when the database's clock is behind, and at each of two changes in one microsecond.
    """
    return func.greatest(func.now(), col(model.updated_at) + timedelta(microseconds=1))


def _array(versions: list[datetime]) -> str:
    return "{" + ",".join(version.isoformat() for version in versions) + "}"
