"""The versions of a row, told apart by `updated_at`, and statements that write one version only.

Whoever reads a row and writes it back must not undo what another has changed in between. The version is a condition of
the statement that writes, so there is no moment between looking and writing.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import ARRAY, ColumnElement, DateTime, Text, all_, and_, any_, bindparam, cast, func, or_
from sqlmodel import col

from app.core.errors import Changed

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
        """What a statement with `holds` among its conditions takes."""
        any_of = [] if self.none_of is None else self.any_of
        return {"any_of": None if any_of is None else _array(any_of), "none_of": _array(self.none_of or [])}


ALWAYS = Condition()


def holds(model: type[Versioned]) -> ColumnElement[bool]:
    """That the row is in a version for which the request is meant; the statement runs with `Condition.values()`."""
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
