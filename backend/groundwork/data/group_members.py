"""Who is in which group, for those who are told of a group's changes."""

from collections.abc import Collection
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import ARRAY, Text, bindparam, cast, func, select

from groundwork.data.database import Executor
from groundwork.data.known_tables import group_column, owner_of
from groundwork.data.ownership import column_named, own_membership, source_of
from groundwork.data.statement import Statement


class _Found(BaseModel):
    id: Any


def member_statements(membership: Any) -> tuple[Statement[Any], Statement[Any]]:
    """The groups of a user, and which of some users are the members of a group.

    Args:
        membership: the model of the members.

    Raises:
        TypeError: the model has no `group_column()` or no `owner_column()`.
    """
    source = source_of(membership)
    mine = own_membership(source)
    owner, group = owner_of(source), column_named(source, str(group_column(source)))
    user = column_named(source, owner.column if owner else "")
    asked = select(func.unnest(bindparam("users", type_=ARRAY(Text))))
    theirs = group == cast(bindparam("group", type_=Text), group.type), user.in_(asked)
    why = "Only the members of a group are told of its changes."
    members = Statement(select(user.label("id")).where(*theirs), _Found, everybody=why)
    return Statement(select(group.label("id")).where(*mine), _Found), members


class Groups(NamedTuple):
    """Who is in which group now."""

    database: Executor
    statements: tuple[Statement[Any], Statement[Any]]
    """Those that `member_statements` makes."""

    async def of(self, user: str) -> set[str]:
        """The groups of a user."""
        return {str(each.id) for each in await self.database.all(self.statements[0], owner=user)}

    async def members(self, group: str, users: Collection[str]) -> set[str]:
        """Which of these users are members of the group."""
        return {each.id for each in await self.database.all(self.statements[1], group=group, users=[*users])}
