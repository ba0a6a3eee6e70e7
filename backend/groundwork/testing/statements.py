"""Records the statements that the service sends, and checks their owners."""

import re
from functools import cache
from typing import Any, NamedTuple

import pytest

from groundwork.data.kept_texts import kept_texts
from groundwork.data.known_tables import group_column, is_owned, owner_of
from groundwork.data.plain_session import MARK
from groundwork.data.statement import for_everybody
from groundwork.data.tables import metadata
from groundwork.data.target import ConnectionTarget


@cache
def owned_tables() -> list[str]:
    """The names of all tables that belong to users or to groups. The service must have imported its models."""
    return [table.name for table in metadata.sorted_tables if is_owned(table)]


@cache
def _users_columns() -> dict[str, str]:
    """The column with the user's id in each table that belongs to users, and in each table of members."""
    owners = ((table.name, owner_of(table)) for table in metadata.sorted_tables)
    return {name: owner.column for name, owner in owners if owner and owner.members is None}


@cache
def _tables_of_members() -> list[str]:
    return [table.name for table in metadata.sorted_tables if group_column(table)]


class Sent(NamedTuple):
    """A statement as it went to the server."""

    sql: str
    arguments: tuple[Any, ...]

    def owners(self) -> set[Any]:
        """The ids of the users for whom the statement selects or writes rows. None stands for one that is unclear."""
        found: list[str] = []
        for table, column in _users_columns().items():
            conditions = re.findall(rf"\b{table}(_\d+)?\.{column} = \$(\d+)", self.sql)
            user = [place for alias, place in conditions if alias] if table in _tables_of_members() else []
            # A statement on a member's row may name two users. The membership of its own user has an alias.
            found += user or [place for _, place in conditions] + self._inserted(table, column)
        return {self.arguments[int(place) - 1] if place else None for place in found}

    def _inserted(self, table: str, column: str) -> list[str]:
        """The place of the parameter to which each insert sets the column. It is empty where there is none."""
        row = r" \((?P<names>[^)]*)\)\s+(?:VALUES \(|SELECT )(?P<values>.*)"
        places = []
        for insert in re.finditer(rf"INSERT INTO {table}\b(?:{row})?", self.sql):
            values = dict(zip((insert["names"] or "").split(", "), (insert["values"] or "").split(", "), strict=False))
            place = re.match(r"\$(\d+)", values.get(column, ""))
            places.append(place[1] if place else "")
        return places


def record(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """Record every statement on the connections that the service opens from now on."""
    sent: list[Sent] = []
    connect = ConnectionTarget.connect

    async def recorded(target: ConnectionTarget, **options: Any) -> Any:
        connection = await connect(target, **options)
        connection.add_query_logger(lambda query: sent.append(Sent(query.query, tuple(query.args))))
        return connection

    monkeypatch.setattr(ConnectionTarget, "connect", recorded)
    return sent


def is_for_everybody(sql: str) -> bool:
    """Whether it is of a plain session, or a statement with `everybody=`, as it goes to the server or to a pooler."""
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
