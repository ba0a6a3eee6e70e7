"""Which rows the database refuses, whoever writes them."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from pydantic import TypeAdapter

from app.schemas.task import Title
from groundwork import ids
from groundwork.text import WHITE_SPACE


def row(**values: Any) -> dict[str, Any]:
    return {"user_id": "alice", "id": ids.uuid7(), "title": "title", **values}


async def insert(connection: asyncpg.Connection, values: dict[str, Any]) -> dict[str, Any]:
    names, places = ", ".join(values), ", ".join(f"${number + 1}" for number in range(len(values)))
    stored = await connection.fetchrow(f"INSERT INTO tasks ({names}) VALUES ({places}) RETURNING *", *values.values())
    return dict(stored or ())


async def test_what_is_left_out_gets_its_default(connection: asyncpg.Connection) -> None:
    before = datetime.now(UTC).replace(year=2020)
    stored = await insert(connection, row())
    assert (stored["description"], stored["completed"]) == (None, False)
    assert stored["created_at"] == stored["updated_at"] > before


@pytest.mark.parametrize(
    "values",
    [
        {"user_id": "u" * 255, "title": "t" * 200, "description": "d" * 1000},
        {"user_id": "👋" * 255, "title": "👋" * 200, "description": "👋" * 1000},
        {"user_id": " ", "description": ""},
        {"title": "two words"},
        {"title": "\u200b"},
    ],
    ids=["longest", "longest of wide characters", "blank user", "inner space", "no white space to Unicode"],
)
async def test_rows_that_the_api_would_write_are_taken(connection: asyncpg.Connection, values: dict[str, Any]) -> None:
    assert (await insert(connection, row(**values))).items() >= values.items()


NOT_NULL = ("user_id", "id", "title", "completed", "created_at", "updated_at")


@pytest.mark.parametrize(
    "values",
    [
        {"user_id": ""},
        {"user_id": "u" * 256},
        {"title": ""},
        {"title": "t" * 201},
        {"description": "d" * 1001},
        *({name: None} for name in NOT_NULL),
        {"title": "a\0b"},
        {"description": "\0"},
    ],
    ids=repr,
)
async def test_rows_that_the_api_would_refuse_are_refused(
    connection: asyncpg.Connection, values: dict[str, Any]
) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await insert(connection, row(**values))
    assert caught.value.sqlstate[:2] in ("22", "23"), "the data's fault, or a constraint"


@pytest.mark.parametrize("space", WHITE_SPACE, ids=lambda space: f"U+{ord(space):04X}")
async def test_a_title_has_no_white_space_at_its_ends(connection: asyncpg.Connection, space: str) -> None:
    for title in (space, f"{space}title", f"title{space}", space * 3):
        with pytest.raises(asyncpg.CheckViolationError):
            await insert(connection, row(title=title))
    assert await insert(connection, row(title=f"a{space}b"))


def test_the_api_strips_what_the_database_calls_white_space() -> None:
    strip = TypeAdapter(Title).validate_python
    characters = (chr(number) for number in range(1, 0x110000) if not 0xD800 <= number < 0xE000)
    assert {character for character in characters if strip(f"a{character}") == "a"} == set(WHITE_SPACE)


async def test_an_update_is_held_to_the_same_rules(connection: asyncpg.Connection) -> None:
    await insert(connection, row())
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("UPDATE tasks SET title = ' '")


async def test_an_id_is_unique_for_its_user(connection: asyncpg.Connection) -> None:
    values = row()
    await insert(connection, values)
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(connection, values)
    assert await insert(connection, {**values, "user_id": "bob"})
