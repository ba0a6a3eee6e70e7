"""Which columns can hold the values of a body's members: the check agrees with the driver."""

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import (
    AfterValidator,
    AnyUrl,
    AwareDatetime,
    EmailStr,
    FileUrl,
    HttpUrl,
    IPvAnyAddress,
    JsonValue,
    NaiveDatetime,
    PastDate,
    PostgresDsn,
    SecretStr,
    create_model,
    field_validator,
)
from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    MetaData,
    Numeric,
    Table,
    Text,
    Time,
    Uuid,
    bindparam,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import INET, JSONB

from app.models.task import Task
from groundwork import text
from groundwork.data.statement import Statement
from groundwork.data.values import enum_text
from groundwork.http.bodies import RequestBody
from groundwork.testing.body_columns import unfit_members
from groundwork.tests.http import all_types


class Colour(enum.Enum):
    RED = "red"


class Mood(enum.StrEnum):
    GOOD = "good"


class Level(enum.IntEnum):
    LOW = 1


class Place(RequestBody):
    name: str


URL = "https://example.com/"
VALUES: dict[str, tuple[Any, Any]] = {
    "str": (str, "x"),
    "Text": (Annotated[str, text.Text(5)], "x"),
    "Literal": (Literal["x"], "x"),
    "int": (int, 1),
    "float": (float, 1.5),
    "bool": (bool, True),
    "Decimal": (Decimal, "1.5"),
    "date": (date, "2026-01-01"),
    "PastDate": (PastDate, "2020-01-01"),
    "datetime": (datetime, "2026-01-01T00:00:00Z"),
    "AwareDatetime": (AwareDatetime, "2026-01-01T00:00:00Z"),
    "NaiveDatetime": (NaiveDatetime, "2026-01-01T00:00:00"),
    "time": (time, "10:00:00"),
    "timedelta": (timedelta, "P1D"),
    "UUID": (UUID, "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c"),
    "list": (list[str], ["x"]),
    "set": (set[str], ["x"]),
    "frozenset": (frozenset[str], ["x"]),
    "tuple": (tuple[str, ...], ["x"]),
    "list of URLs": (list[HttpUrl], [URL]),
    "model": (Place, {"name": "x"}),
    "models": (list[Place], [{"name": "x"}]),
    "dict": (dict[str, Any], {}),
    "JsonValue": (JsonValue, {}),
    "Enum": (Colour, "red"),
    "StrEnum": (Mood, "good"),
    "IntEnum": (Level, 1),
    "HttpUrl": (HttpUrl, URL),
    "optional HttpUrl": (HttpUrl | None, URL),
    "AnyUrl": (AnyUrl, URL),
    "FileUrl": (FileUrl, "file:///x"),
    "PostgresDsn": (PostgresDsn, "postgresql://alice@localhost/tasks"),
    "HttpUrl as text": (Annotated[HttpUrl, AfterValidator(str)], URL),
    "IPvAnyAddress": (IPvAnyAddress, "192.0.2.1"),
    "SecretStr": (SecretStr, "x"),
    "SecretStr as text": (Annotated[SecretStr, AfterValidator(SecretStr.get_secret_value)], "x"),
}
"""Annotations of a member, each with a value in JSON."""
COLUMNS: dict[str, Any] = {
    "Text": Text(),
    "Integer": Integer(),
    "Float": Float(),
    "Numeric": Numeric(),
    "Boolean": Boolean(),
    "Date": Date(),
    "DateTime with a time zone": DateTime(timezone=True),
    "DateTime": DateTime(),
    "Time": Time(),
    "Interval": Interval(),
    "Uuid": Uuid(),
    "ARRAY": ARRAY(Text()),
    "INET": INET(),
    "enum_text": enum_text(Colour),
    "JSONB": JSONB(),
}
OPAQUE = {"HttpUrl as text", "SecretStr as text", "JsonValue"}
"""What a validator makes, or what may be anything, is not checked."""
TEXTS = {"str", "Text", "Literal", "StrEnum"}
LOST = {
    *((moment, column) for moment in ("datetime", "AwareDatetime", "NaiveDatetime") for column in ("Date", "Time")),
    *((each, "ARRAY") for each in (*TEXTS, "dict", "model")),
    ("SecretStr", "JSONB"),
}
"""What is written, but not whole: a part of a moment, a text or a model by its parts, and asterisks for a secret."""
UNLISTED = {"INET"}
"""Columns that docs/values.md does not have are not checked."""


def body_with(annotation: Any) -> Any:
    return create_model("ThingCreate", __base__=RequestBody, value=(annotation, ...))


def sentences(body: Any, type_: Any) -> list[str]:
    app, router = FastAPI(), APIRouter()

    async def create_thing(thing: Any) -> None: ...

    create_thing.__annotations__["thing"] = body
    router.add_api_route("/things", create_thing, methods=["POST"])
    app.include_router(router)
    table = Table("things", MetaData(), Column("value", type_))
    return unfit_members(app, "create_thing", table)


@pytest.mark.parametrize("column", COLUMNS)
async def test_the_check_agrees_with_the_driver(connection: asyncpg.Connection, column: str) -> None:
    type_ = COLUMNS[column]
    sent: Statement[Any] = Statement(select(sql_cast(bindparam("value", type_=type_), type_).label("value")))
    for name, (annotation, given) in VALUES.items():
        body = body_with(annotation)
        value = body.model_validate({"value": given}).value
        try:
            await connection.fetchval(sent.sql, *sent.arguments({"value": value}))
        except (asyncpg.PostgresError, LookupError, TypeError, ValueError, AttributeError):
            fits = False
        else:
            fits = (name, column) not in LOST
        found = sentences(body, type_)
        if not (name in OPAQUE or column in UNLISTED):
            assert (not found) == fits, (name, column, found)


WHAT_TO_WRITE = {
    "HttpUrl": ("Text", "HttpUrl: write Annotated[HttpUrl, AfterValidator(str)]"),
    "list of URLs": ("ARRAY", "HttpUrl: write Annotated[HttpUrl, AfterValidator(str)]"),
    "IPvAnyAddress": ("Text", "IPvAnyAddress: write Annotated[IPvAnyAddress, AfterValidator(str)]"),
    "SecretStr": ("JSONB", "SecretStr: write Annotated[SecretStr, AfterValidator(SecretStr.get_secret_value)]"),
    "Enum": ("Text", "Colour: write sa_type=enum_text(Colour) at the column"),
    "model": ("Text", "Place: write sa_type=JSONB at the column"),
    "datetime": ("DateTime", "datetime: write sa_type=DateTime(timezone=True) at the column, or NaiveDatetime here"),
    "str": ("ARRAY", "str: write list here, or the column's type that groundwork/docs/values.md has for str"),
    "int": ("Text", "int: write str here, or the column's type that groundwork/docs/values.md has for int"),
}


@pytest.mark.parametrize("name", WHAT_TO_WRITE)
def test_it_says_what_to_write(name: str) -> None:
    column, says = WHAT_TO_WRITE[name]
    [sentence] = sentences(body_with(VALUES[name][0]), COLUMNS[column])
    assert sentence.startswith("ThingCreate.value: the column things.value, which is ")
    assert sentence.endswith(f", cannot hold {says}")


def test_only_a_function_of_the_body_knows_what_it_returns() -> None:
    class ThingCreate(RequestBody):
        value: HttpUrl

        @field_validator("value", mode="after")
        @classmethod
        def _as_text(cls, value: HttpUrl) -> str:
            return str(value)

    assert sentences(ThingCreate, Text()) == []


def test_the_page_of_all_types_and_the_example_hold_what_they_take() -> None:
    table: Any = all_types.Specimen.__table__  # type: ignore[attr-defined]
    app = FastAPI()
    app.include_router(all_types.router)
    for operation in ("create_specimen", "update_specimen"):
        assert unfit_members(app, operation, table) == []
    assert unfit_members(app, "create_specimen", Task.__table__) == []  # type: ignore[attr-defined]


def test_a_text_of_pydantics_own_is_a_text() -> None:
    pytest.importorskip("email_validator")
    assert sentences(body_with(EmailStr), Text()) == []
    assert sentences(body_with(EmailStr), Integer())
