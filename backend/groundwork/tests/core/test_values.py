"""The JSON form of each type, also inside other types, and its schema in the OpenAPI document."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    HttpUrl,
    Json,
    JsonValue,
    NaiveDatetime,
    PastDate,
    PlainValidator,
    SecretStr,
    Strict,
    StrictStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
)
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from typing_extensions import TypedDict

from app.schemas.task import TaskCreate
from groundwork.data.values import JSONForm, enum_text
from groundwork.http.bodies import Changes, RequestBody
from groundwork.text import Text, TrimmedText, without_nul

T = TypeVar("T")
MOMENT = datetime(2026, 11, 23, 17, 39, 8, tzinfo=UTC)


class Colour(Enum):
    RED = "red"
    GREEN = "light green"


class Level(IntEnum):
    LOW = 1


class Inner(RequestBody):
    day: date
    inner: "Inner | None" = None


class Lax(BaseModel):
    number: int


class Typed(TypedDict):
    number: int


@dataclass
class Data:
    number: int


class Pair(NamedTuple):
    first: str


class Generics(RequestBody, Generic[T]):
    value: T


class Other(RequestBody):
    text: str


class First(Other):
    type: Literal["a"]


class Second(Other):
    type: Literal["b"]


ACCEPTED: list[tuple[Any, Any, Any]] = [
    (Decimal, "12.50", Decimal("12.50")),
    (Decimal | None, None, None),
    (date, "2026-11-23", date(2026, 11, 23)),
    (datetime, "2026-11-23T23:24:08+05:45", MOMENT),
    (NaiveDatetime, "2026-11-23T17:39:08", MOMENT.replace(tzinfo=None)),
    (time, "17:39:08.5", time(17, 39, 8, 500000)),
    (timedelta, "-P1DT2H", timedelta(days=-1, hours=-2)),
    (timedelta, "P1Y35D", timedelta(days=400)),
    (UUID, str(UUID(int=1)), UUID(int=1)),
    (Annotated[HttpUrl, AfterValidator(str)], "HTTPS://Example.com", "https://example.com/"),
    (Annotated[str, Field(pattern="^[A-Z]{3}$")], "ABC", "ABC"),
    (PastDate, "2000-02-29", date(2000, 2, 29)),
    (Colour, "light green", Colour.GREEN),
    (Level, 1, Level.LOW),
    (set[date], ["2026-11-23", "2026-11-23"], {date(2026, 11, 23)}),
    (frozenset[UUID], [str(UUID(int=1))], frozenset({UUID(int=1)})),
    (tuple[date, int], ["2026-11-23", 5], (date(2026, 11, 23), 5)),
    (dict[date, list[Colour]], {"2026-11-23": ["red"]}, {date(2026, 11, 23): [Colour.RED]}),
    (date | Decimal | int, "1.5", Decimal("1.5")),
    (Annotated[Colour | None, Field(description="Which.")], "red", Colour.RED),
    (list[Inner], [{"day": "2026-11-23"}], [Inner(day=date(2026, 11, 23))]),
    (
        Inner,
        {"day": "2026-11-23", "inner": {"day": "2026-11-23"}},
        Inner(day=MOMENT.date(), inner=Inner(day=MOMENT.date())),
    ),
    (Annotated[int, Field(le=2**70)], 2**70, 2**70),
    # The type itself asks for lax validation.
    (Annotated[date, Strict(False)], 0, date(1970, 1, 1)),
    # Values that Python code passes.
    (date, MOMENT.date(), MOMENT.date()),
    (Decimal, Decimal("1e5"), Decimal("1e5")),
    (Colour, Colour.RED, Colour.RED),
]
REFUSED: list[tuple[Any, Any, str]] = [
    (Decimal, 12.5, "decimal_text"),
    (Decimal, 12, "decimal_text"),
    (Annotated[Decimal, Field(max_digits=4, decimal_places=2)], "123.4", "decimal_text"),
    (Annotated[Decimal, Field(max_digits=4, decimal_places=0)], "12.0", "decimal_text"),
    (Annotated[Decimal, Field(ge=0)], "-1", "greater_than_equal"),
    (date, "1577836800", "date_text"),
    (date, "2026-02-29", "date_from_datetime_parsing"),
    (date, "2026-11-23\n", "date_text"),
    (datetime, "2026-11-23T17:39:08", "datetime_text"),
    (datetime, "0001-01-01T00:00:00+00:01", "datetime_range"),
    (NaiveDatetime, "2026-11-23T17:39:08Z", "datetime_text"),
    (time, "17:39:08Z", "time_text"),
    (timedelta, "P1M", "timedelta_text"),
    (timedelta, "PT", "timedelta_text"),
    (Colour, "RED", "enum"),
    (Level, "1", "enum"),
    (Level, True, "enum"),
    (Level, 1.0, "enum"),
    (list[Level], [[1]], "enum"),
    (Literal["a"], "\0", "literal_error"),
    (int, "5", "int_type"),
    (int, 2**63, "less_than_equal"),
    (Annotated[int, Field(lt=2**70)], -(2**63) - 1, "greater_than_equal"),
    (float, float("inf"), "finite_number"),
    (float, 10**400, "float_type"),
    (set[int], ["5"], "int_type"),
    (set[int], {"5": 5}, "set_type"),
    (set[Any], [[]], "set_item_not_hashable"),
    (str, "\0", "nul_character"),
    (str | None, "\0", "nul_character"),
    (list[set[str]], [["\0"]], "nul_character"),
    (dict[str, int], {"\0": 5}, "nul_character"),
    (dict[str, Any], {"a": [{"\0": 5}]}, "nul_character"),
    (dict[str, Any], {"a": [float("inf")]}, "finite_number"),
    (JsonValue, {"a": [{"b": "\0"}]}, "nul_character"),
    (list[Inner], [{"day": 5}], "date_text"),
    # Whatever pydantic knows.
    (Sequence[str], ["\0"], "nul_character"),
    (Mapping[str, str], {"\0": "a"}, "nul_character"),
    (Iterable[str], ["\0"], "nul_character"),
    (Pair, {"first": "\0"}, "nul_character"),
    (SecretStr, "\0", "nul_character"),
    (HttpUrl, "https://example.com/\0", "nul_character"),
    (HttpUrl, " https://example.com", "url_syntax_violation"),
    (Annotated[str, Field(pattern="^[A-Z]{3}")], "ABC\0", "nul_character"),
    (Annotated[str, Field(pattern="^[A-Z]{3}$")], "ABC\n", "string_pattern_mismatch"),
    (PastDate, "9999-12-31", "date_past"),
    (PastDate, "951782400", "date_text"),
    (StrictStr, "\0", "nul_character"),
    (Annotated[list[str], Strict()], ["\0"], "nul_character"),
    (Annotated[str, StringConstraints(pattern=".*", to_lower=True)], "\0", "nul_character"),
    (Annotated[str, AfterValidator(str.lower)], "\0", "nul_character"),
    (Annotated[str, BeforeValidator(str.lower)], "\0", "nul_character"),
    (Annotated[Any, PlainValidator(str)], ["\0"], "nul_character"),
    (Json, r'{"a": "\u0000"}', "nul_character"),
    (Generics[str], {"value": "\0"}, "nul_character"),
    (Annotated[Inner | Other, Field(union_mode="left_to_right")], {"text": "\0"}, "nul_character"),
    (Annotated[First | Second, Field(discriminator="type")], {"type": "b", "text": "\0"}, "nul_character"),
]


def body_with(type_: Any) -> Any:
    return create_model("Body", __base__=RequestBody, member=(type_, ...))


@pytest.mark.parametrize(("type_", "sent", "value"), ACCEPTED, ids=str)
def test_a_type_is_taken_in_its_form(type_: Any, sent: Any, value: Any) -> None:
    taken = body_with(type_).model_validate({"member": sent}).member
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(("type_", "sent", "error"), REFUSED, ids=lambda each: repr(each)[:40])
def test_any_other_form_is_refused(type_: Any, sent: Any, error: str) -> None:
    with pytest.raises(ValidationError) as refused:
        body_with(type_).model_validate({"member": sent})
    assert error in [each["type"] for each in refused.value.errors()]


@pytest.mark.parametrize("model", [Lax, Data, Typed])
@pytest.mark.parametrize(
    "around",
    [
        lambda model: model,
        list.__class_getitem__,
        Optional.__getitem__,  # pyright: ignore[reportAttributeAccessIssue] - it is an object, not a class
    ],
)
def test_a_lax_model_in_a_body_is_refused(model: Any, around: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=f"{model.__name__} is part of a request's body: derive it from RequestBody"):
        body_with(around(model))


def test_an_update_takes_the_same_forms() -> None:
    update = create_model("Update", __base__=Changes, day=(date, Field(default_factory=date.today)), n=(int, 5))
    assert update.model_validate({"day": "2026-11-23"}).fields_set() == {"day": date(2026, 11, 23)}
    assert update.model_validate({"n": 6}).fields_set() == {"n": 6}, "no default is written"


def test_a_text_that_refuses_nul_itself_is_checked_once() -> None:
    checks = str(body_with(Annotated[str, Text(5)]).__pydantic_core_schema__).count(f"{without_nul}")
    assert checks == str(TypeAdapter(Annotated[str, Text(5)]).core_schema).count(f"{without_nul}") == 1
    assert "_storable" not in str(TaskCreate.__pydantic_core_schema__)


def test_a_model_in_others_gets_its_forms_once() -> None:
    inner = body_with(dict[str, Any] | Colour | set[int])
    before = str(inner.__pydantic_core_schema__)
    outer = body_with(body_with(inner) | list[inner])  # type: ignore[valid-type]
    assert str(inner.__pydantic_core_schema__) == before
    assert outer.model_validate({"member": [{"member": "red"}]}).member[0].member is Colour.RED
    assert inner.model_rebuild(force=True)
    assert str(inner.__pydantic_core_schema__).count("_storable") == before.count("_storable")


def test_the_document_says_the_same_of_a_body_and_an_answer() -> None:
    body = body_with(dict[Colour, tuple[Annotated[Decimal, Field(max_digits=6, decimal_places=2)] | None, UUID, time]])
    assert body.model_json_schema() == body.model_json_schema(mode="serialization")
    assert r"^-?\\d{1,4}(\\.\\d{1,2})?$" in str(body.model_json_schema())


def test_a_parameter_takes_the_form_alone() -> None:
    adapter = TypeAdapter(Annotated[datetime | None, JSONForm()])
    assert adapter.validate_python("2026-11-23T17:39:08Z") == MOMENT
    with pytest.raises(ValidationError):
        adapter.validate_python("1577836800")
    with pytest.raises(ValidationError, match="NUL"):
        TypeAdapter(Annotated[dict[str, Any], JSONForm()]).validate_python({"a": ["\0"]})
    assert TypeAdapter(Annotated[int, JSONForm()]).validate_python("5") == 5, "a text is what a query has"


def test_an_enumeration_is_stored_by_its_values() -> None:
    table = Table("t", MetaData(), Column("text", enum_text(Colour)), Column("native", enum_text(Colour, native=True)))
    sql = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "text VARCHAR(255)" in sql
    assert "CHECK (text IN ('red', 'light green'))" in sql
    assert "native colour" in sql


@pytest.mark.parametrize("length", [0, -1])
@pytest.mark.parametrize("type_", [Text, TrimmedText])
def test_a_text_has_room_for_a_character(type_: type[Text], length: int) -> None:
    with pytest.raises(ValueError, match=f"a text of at most {length} characters is none: give 1 or more"):
        type_(length)
