"""Records the statements that the service sends, and checks their owners."""

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import pytest

from groundwork.data.connector import Connector
from groundwork.data.kept_texts import kept_texts
from groundwork.data.known_tables import group_column, is_owned, owner_of
from groundwork.data.plain_session import MARK
from groundwork.data.statement import for_everybody
from groundwork.data.tables import metadata
from groundwork.data.target import ConnectionTarget

_opens = ContextVar("_opens", default=False)
"""Whether the pool is opening a connection in this task."""


@cache
def owned_tables() -> list[str]:
    """The names of all tables that belong to users or to groups. The service must have imported its models."""
    return [table.name for table in metadata.sorted_tables if is_owned(table)]


@cache
def _users_columns() -> dict[str, str]:
    """The column with the user's id in each table that belongs to users, and in each table of members."""
    owners = ((table.name, owner_of(table)) for table in metadata.sorted_tables)
    return {name: owner.column for name, owner in owners if owner and owner.members is None}


def owner_columns(table: str) -> list[str]:
    """The columns by which rows of few owners are found: the owner's, and in a table of members also the group's."""
    source = metadata.tables.get(table)
    owner = owner_of(source) if source is not None else None
    return [*filter(None, [owner.column if owner else "user_id", group_column(source)])]


class Sent(NamedTuple):
    """A statement as it went to the server."""

    sql: str
    arguments: tuple[Any, ...]

    def owners(self) -> set[Any]:
        """The ids of the users for whom the statement selects or writes rows. None stands for an unclear one."""
        found: list[str] = []
        for table, column in _users_columns().items():
            condition = rf"\.{column} = \$(\d+)"
            # If a condition on an alias asks for a membership of the user, the statement may write any membership.
            memberships = re.findall(rf"\b{table}_\d+{condition}", self.sql)
            if memberships and group_column(metadata.tables[table]):
                found += memberships
                continue
            found += re.findall(rf"\b{table}(?:_\d+)?{condition}", self.sql)
            found += [_inserted(self.sql[each.end() :], column) for each in _inserts(table, self.sql)]
        return {self.arguments[int(place) - 1] if place else None for place in found}


def _inserts(table: str, sql: str) -> Iterator[re.Match[str]]:
    return re.finditer(rf"INSERT INTO {table}\b", sql)


def _inserted(rest: str, column: str) -> str:
    """The number of the parameter that an insert writes into a column; "" if that is not clear.

    Args:
        rest: the insert's text after the table's name.
    """
    row = re.match(r" \(([^)]*)\)\s+(?:VALUES \(|SELECT )(.*)", rest, re.DOTALL)
    names = row[1].split(", ") if row else []
    if row is None or column not in names:
        return ""
    before = names.index(column)
    # Each value before it must be a name or a parameter. Anything else could contain commas.
    value = re.match(rf"(?:[\w.:$]+(?: AS \w+)?, ){{{before}}}\$(\d+)", row[2])
    return value[1] if value else ""


def on_each_statement(monkeypatch: pytest.MonkeyPatch, note: Callable[[Any], None]) -> None:
    """Call `note` with each statement (asyncpg's `LoggedQuery`) on the connections that are opened from now on."""
    connect = ConnectionTarget.connect

    async def noted(target: ConnectionTarget, **options: Any) -> Any:
        connection = await connect(target, **options)
        connection.add_query_logger(note)  # asyncpg calls it in the context of the statement
        return connection

    monkeypatch.setattr(ConnectionTarget, "connect", noted)


def record(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """Record every statement on the connections that the service opens from now on.

    The statements by which the pool opens a connection are left out. On a busy machine it may open another one in the
    background at any time, and then a test that counts statements would fail.
    """
    sent: list[Sent] = []
    open_for_pool = Connector.__call__

    def note(query: Any) -> None:
        if not _opens.get():
            sent.append(Sent(query.query, tuple(query.args)))

    async def opening(connector: Connector) -> Any:
        token = _opens.set(True)
        try:
            return await open_for_pool(connector)
        finally:
            _opens.reset(token)

    on_each_statement(monkeypatch, note)
    monkeypatch.setattr(Connector, "__call__", opening)
    return sent


def is_for_everybody(sql: str) -> bool:
    """Whether the statement is of a plain session, or has `everybody=`. A pooler gets it under another text."""
    return sql.startswith(MARK) or any(sql in (each.sql, kept_texts.of(each.sql)) for each in for_everybody)


def require_owner_in_each(sent: list[Sent]) -> None:
    """Check that each statement selects or writes the rows of one user, unless it is for everybody."""
    for statement in sent:
        if is_for_everybody(statement.sql):
            continue
        if any(re.search(rf"\b{table}\b", statement.sql) for table in owned_tables()):
            owners = statement.owners()
            said = (
                f"no owner, or more than one, in: {statement.sql}\n"
                "The statement reaches rows of a table that belongs to users: give it the condition owned(Model)."
            )
            assert len(owners) == 1, said
            assert None not in owners, said
