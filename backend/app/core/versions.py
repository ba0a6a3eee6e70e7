"""The versions of a row, told apart by `updated_at`, and statements that write one version only.

Whoever reads a row and writes it back must not undo what another has changed in between. The version is a condition of
the statement that writes, so there is no moment between looking and writing.
"""

from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, Protocol

from sqlalchemy import ARRAY, ColumnElement, DateTime, Text, all_, and_, any_, bindparam, cast, func, or_
from sqlmodel import col

from app.core.errors import Changed
from app.core.statement import Row, Statement

_MOMENTS = ARRAY(DateTime(timezone=True))
# Arrays as text: asyncpg would ask the server, on each new connection, what an array of moments is.
_ANY_OF, _NONE_OF = bindparam("any_of", type_=Text), bindparam("none_of", type_=Text)


class Versioned(Protocol):
    """A row, or what represents it, whose every change moves `updated_at` forward."""

    updated_at: datetime


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

    def require(self, resource: Versioned) -> None:
        """
        Raises:
            Changed: it is in another version.
        """
        if not self.wants(resource.updated_at) or self.excludes(resource.updated_at):
            raise Changed

    def values(self) -> dict[str, Any]:
        """What the statement takes that `VersionedStatement.under` gives for this condition."""
        if self is ALWAYS:
            return {}
        any_of = [] if self.none_of is None else self.any_of
        return {"any_of": None if any_of is None else _array(any_of), "none_of": _array(self.none_of or [])}


ALWAYS = Condition()


class VersionedStatement(Generic[Row]):
    """A statement that writes a row, and the same for certain versions only: a request without a condition costs none.

    Args:
        statement: an update or a delete.
        model: the row's.
        returns: as in `Statement`.
    """

    def __init__(self, statement: Any, model: type[Versioned], returns: type[Row] | None = None) -> None:
        self.always: Statement[Row] = Statement(statement, returns)
        self.guarded: Statement[Row] = Statement(statement.where(_holds(model)), returns)

    def under(self, condition: Condition) -> Statement[Row]:
        """To be run with `condition.values()`."""
        return self.always if condition is ALWAYS else self.guarded


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
