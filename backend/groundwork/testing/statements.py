"""Records the statements that the service sends, and checks their owners."""

import re
from functools import cache
from typing import Any, NamedTuple

import pytest

from groundwork.data.known_tables import OWNER_COLUMN
from groundwork.data.tables import metadata
from groundwork.data.target import ConnectionTarget


@cache
def owned_tables() -> list[str]:
    """The names of all tables that belong to users. The service must have imported its models."""
    return [table.name for table in metadata.sorted_tables if OWNER_COLUMN in table.c]


class Sent(NamedTuple):
    """A statement as it went to the server."""

    sql: str
    arguments: tuple[Any, ...]

    def owners(self) -> set[Any]:
        """The ids of the users whose rows the statement selects or writes. None stands for an owner that is unclear."""
        tables = "|".join(owned_tables())
        conditions = re.findall(rf"\b(?:{tables})\.user_id = \$(\d+)", self.sql)
        row = r" \(user_id, [^)]*\)\s+(?:VALUES \(|SELECT )\$(\d+)"
        inserted = re.findall(rf"INSERT INTO (?:{tables})\b(?:{row})?", self.sql)
        return {self.arguments[int(place) - 1] if place else None for place in (*conditions, *inserted)}


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


def require_owner_in_each(sent: list[Sent]) -> None:
    for statement in sent:
        if any(re.search(rf"\b{table}\b", statement.sql) for table in owned_tables()):
            owners = statement.owners()
            said = (
                f"no owner, or more than one, in: {statement.sql}\n"
                "The statement reaches rows of a table that belongs to users: give it the condition owned(Model)."
            )
            assert len(owners) == 1, said
            assert None not in owners, said
