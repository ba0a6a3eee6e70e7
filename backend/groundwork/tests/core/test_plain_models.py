"""Models that are filled without pydantic equal those that pydantic makes, and their JSON has the same bytes."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from random import Random
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    ValidationError,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticSerializationError
from sqlalchemy import select
from sqlmodel import SQLModel

from app.schemas.task import TaskRead
from groundwork import ids
from groundwork.data.database import Database
from groundwork.data.plain_models import PlainModel, plain_model
from groundwork.data.statement import Statement
from groundwork.fast.plain_json import json_writer
from groundwork.ids import Id
from groundwork.tests.core.test_statement import ROWS, Mood, samples, write_by_statement
from groundwork.tests.core.test_statement import database as database  # noqa: PLC0414 - a fixture
from groundwork.tests.core.test_statement import engine as engine  # noqa: PLC0414 - a fixture

T = TypeVar("T")
UUID7 = UUID("0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c")


class Plain(BaseModel):
    """A field of each plain type, and a nullable field of each."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    uuid: UUID
    text: str
    number: int = Field(description="Any.")
    truth: bool
    day: date
    moment: datetime
    no_id: Id | None
    no_uuid: UUID | None
    no_text: str | None
    no_number: int | None
    no_truth: bool | None
    no_day: date | None
    no_moment: datetime | None


VALUES: dict[str, Any] = {
    "id": ids.uuid7(),
    "uuid": UUID7,
    "text": 'größer, "quoted", \\ / \x00\x1f\x7f\u2028 and 👋',
    "number": -(2**63),
    "truth": True,
    "day": date(1, 2, 3),
    "moment": datetime(2026, 11, 23, 17, 39, 8, 120000, tzinfo=UTC),
}
NULLS: dict[str, Any] = {**VALUES, **{f"no_{name}": None for name in VALUES}}
FULL: dict[str, Any] = {**VALUES, **{f"no_{name}": value for name, value in VALUES.items()}}


def plain_of(model: Any) -> PlainModel[Any] | None:
    return plain_model(TypeAdapter(model).core_schema)


def filled(values: dict[str, Any]) -> list[Any] | None:
    plain = plain_of(Plain)
    assert plain is not None
    return plain.fill([values[name] for name in Plain.model_fields] for _ in range(1))


def assert_same(row: BaseModel, validated: BaseModel) -> None:
    assert type(row) is type(validated)
    assert row == validated
    assert [(name, type(value), repr(value)) for name, value in vars(row).items()] == [
        (name, type(value), repr(value)) for name, value in vars(validated).items()
    ]
    assert row.model_fields_set == validated.model_fields_set
    assert (row.__pydantic_extra__, row.__pydantic_private__) == (None, None)


@pytest.mark.parametrize("values", [NULLS, FULL], ids=["nulls", "full"])
def test_a_filled_model_is_the_validated_one(values: dict[str, Any]) -> None:
    [row] = filled(dict(reversed(values.items()))) or []
    assert_same(row, Plain.model_validate(values))


def test_a_filled_model_can_be_used_like_any_other() -> None:
    [row] = filled(FULL) or []
    [other] = filled(FULL) or []
    validated = Plain.model_validate(FULL)
    assert_same(row.model_copy(deep=True), validated)
    assert_same(row.model_copy(update={"number": 1}), validated.model_copy(update={"number": 1}))
    assert (repr(row), row.model_dump(), row.model_dump_json()) == (
        repr(validated),
        validated.model_dump(),
        validated.model_dump_json(),
    )
    row.text = "changed"
    assert_same(other, validated)


WRONG: dict[str, list[Any]] = {
    "id": [str(UUID7), None],
    "text": [None, 1, b"x", Literal, type("Text", (str,), {})("x")],
    "number": [None, True, "1", 1.0, Decimal(1)],
    "truth": [None, 0, "true"],
    "day": [None, datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01"],
    "moment": [None, date(2026, 1, 1), 0, type("Moment", (datetime,), {})(2026, 1, 1, tzinfo=UTC)],
    "no_number": ["1"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_of_another_type_is_left_to_pydantic(name: str, value: Any) -> None:
    assert filled({**FULL, name: value}) is None


class Custom(BaseModel):
    a: int
    b: str


class WithInit(Custom):
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class WithPostInit(Custom):
    def model_post_init(self, context: Any) -> None:
        self.a += 1


class WithPrivate(Custom):
    _secret: int = 1


class WithComputed(Custom):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def c(self) -> int:
        return self.a


class WithFieldValidator(Custom):
    @field_validator("a")
    @classmethod
    def double(cls, value: int) -> int:
        return 2 * value


class WithModelValidator(Custom):
    @model_validator(mode="after")
    def check(self) -> Any:
        return self


class WithFieldSerializer(Custom):
    @field_serializer("a")
    def write(self, value: int) -> str:
        return str(value)


class WithModelSerializer(Custom):
    @model_serializer
    def write(self) -> dict[str, Any]:
        return {}


class Recursive(Custom):
    other: "Recursive | None"


class OfSQLModel(SQLModel):
    a: int
    b: str


class Checked(Custom):
    """An assignment by a handler is validated. Filling the model from a row is not an assignment."""

    model_config = ConfigDict(validate_assignment=True)


class OfAny(BaseModel, Generic[T]):
    a: T
    b: str


NOT_PLAIN = [
    WithInit,
    WithPostInit,
    WithPrivate,
    WithComputed,
    WithFieldValidator,
    WithModelValidator,
    WithFieldSerializer,
    WithModelSerializer,
    Recursive,
    OfSQLModel,
    OfAny,
    OfAny[int],
    RootModel[int],
    Custom | Plain,
    Annotated[Custom, AfterValidator(lambda row: row)],
    Annotated[Custom, PlainSerializer(lambda row: row.a)],
    *(
        create_model("Made", __config__=config, a=(int, ...), b=(str, ...))  # type: ignore[call-overload]
        for config in (
            {"alias_generator": to_camel},
            {"extra": "allow"},
            {"extra": "forbid"},
            {"strict": True},
            {"str_strip_whitespace": True},
            {"str_max_length": 3},
            {"revalidate_instances": "always"},
            {"ser_json_temporal": "seconds"},
            {"coerce_numbers_to_str": True},
        )
    ),
    *(
        create_model("Made", a=(kind, ...), b=(str, ...))  # type: ignore[arg-type]
        for kind in (
            Any,
            float,
            Decimal,
            bytes,
            timedelta,
            Mood,
            list[int],
            dict[str, int],
            Custom,
            Custom | None,
            int | str,
            Literal["x"],
            Annotated[int, Field(ge=1)],
            Annotated[str, Field(max_length=9)],
            Annotated[str | None, Field(max_length=9)],
            Annotated[int, Field(strict=True)],
            Annotated[int, Field(alias="c")],
            Annotated[int, Field(validation_alias="c")],
            Annotated[int, Field(serialization_alias="c")],
            Annotated[int, Field(exclude=True)],
            Annotated[int, AfterValidator(abs)],
            Annotated[int, PlainSerializer(str)],
            Annotated[UUID, PlainSerializer(str)],
            Annotated[str, PlainSerializer(str, return_type=str, when_used="json")],
            Annotated[UUID, PlainSerializer(repr, return_type=str, when_used="json")],
        )
    ),
    create_model("Made", a=(int, 1), b=(str, ...)),
    create_model("Made"),
    list[Custom],
    list,
    int,
]


@pytest.mark.parametrize("model", NOT_PLAIN, ids=str)
def test_a_model_with_more_than_plain_fields_is_left_to_pydantic(model: Any) -> None:
    assert plain_of(model) is None


def test_a_model_that_waits_for_a_definition_is_left_to_pydantic() -> None:
    waiting = create_model("Waiting", a=(int, ...), b=("Later", ...))  # type: ignore[arg-type,maybe-unrecognized-str-typeform]
    assert plain_of(waiting) is None


@pytest.mark.parametrize("model", [Plain, TaskRead, Custom, Checked, create_model("Made", a=(int, ...))], ids=str)
def test_these_models_are_plain(model: Any) -> None:
    assert plain_of(model) is not None


def same_json(row: Any) -> bytes:
    """The JSON of one row, and of a list with it, which pydantic writes with the same bytes."""
    one: TypeAdapter[Any] = TypeAdapter(type(row))
    many: TypeAdapter[Any] = TypeAdapter(list[type(row)])  # type: ignore[misc,arg-type]
    written: bytes = json_writer(one)(row)
    assert written == one.dump_json(row, by_alias=True)
    assert json_writer(many)([row, row]) == many.dump_json([row, row], by_alias=True) == b"[%b,%b]" % (written, written)
    return written


class Moments(BaseModel):
    a: datetime
    b: date


class Others(BaseModel):
    a: int
    b: UUID


def test_the_json_of_every_character_is_pydantics() -> None:
    for start in range(0, sys.maxunicode, 4096):
        characters = "".join(chr(place) for place in range(start, start + 4096) if not 0xD800 <= place < 0xE000)
        same_json(Custom(a=start, b=characters))


def test_the_json_of_every_time_is_pydantics() -> None:
    random = Random(16)
    for _ in range(3000):
        moment = datetime(1, 1, 1) + timedelta(microseconds=random.randrange(315_537_897_600_000_000))  # noqa: DTZ001
        for zone in (None, UTC, timezone(timedelta(0), "Z")):
            same_json(Moments(a=moment.replace(tzinfo=zone), b=moment.date()))
    for place in (ZoneInfo("Europe/London"), ZoneInfo("Asia/Kolkata"), timezone(timedelta(seconds=-30))):
        for year in (1850, 2026):
            same_json(Moments(a=datetime(year, 11, 23, tzinfo=place), b=date(year, 11, 23)))


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**40])
def test_the_json_of_every_integer_and_id_is_pydantics(number: int) -> None:
    same_json(Others(a=number, b=UUID7))
    same_json(Others(a=number, b=ids.uuid7()))


def test_the_json_of_lists_is_pydantics() -> None:
    adapter = TypeAdapter(list[Plain])
    rows = [Plain.model_validate(values) for values in (NULLS, FULL)]
    for each in ([], rows[:1], rows, rows * 500):
        assert json_writer(adapter)(each) == adapter.dump_json(each)


class Cached(Custom):
    @cached_property
    def c(self) -> int:
        return self.a


def _with(name: str, value: Any) -> Callable[[Any], None]:
    return lambda row: setattr(row, name, value)


def _reorder(row: Any) -> None:
    a = row.a
    del row.a
    row.a = a


CHANGES: dict[str, Callable[[Any], Any]] = {
    "another text": _with("b", "changed"),
    "no text": _with("b", None),
    "not a number": _with("a", float("nan")),
    "a time": _with("a", datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))),
    "bytes": _with("b", b"x"),
    "another model": _with("b", Custom(a=1, b="x")),
    "an enumeration": _with("b", Mood.GOOD),
    "cached": lambda row: row.c,
    "another order": _reorder,
    "deleted": lambda row: delattr(row, "a"),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_json_of_a_model_that_was_changed_is_pydantics(change: Callable[[Any], Any]) -> None:
    row = Cached(a=1, b="x")
    change(row)
    same_json(row)


def test_a_text_that_is_no_unicode_is_refused_as_pydantic_refuses_it() -> None:
    row = Custom(a=1, b="x")
    row.b = "\ud800"
    with pytest.raises(PydanticSerializationError) as refused:
        TypeAdapter(Custom).dump_json(row)
    with pytest.raises(PydanticSerializationError, match=re.escape(str(refused.value))):
        json_writer(TypeAdapter(Custom))(row)


def test_the_json_of_a_subclass_is_pydantics() -> None:
    adapter = TypeAdapter(list[Custom])
    rows = [Custom(a=1, b="x"), WithComputed(a=2, b="y"), WithPrivate(a=3, b="z")]
    assert json_writer(adapter)(rows) == adapter.dump_json(rows)
    one = TypeAdapter(Custom)
    assert json_writer(one)(rows[1]) == one.dump_json(rows[1])


KINDS: dict[str, Any] = {
    "string": str,
    "text": str,
    "integer": int,
    "bigint": int,
    "boolean": bool,
    "uuid": UUID,
    "timestamp": datetime,
    "naive_timestamp": datetime,
    "date": date,
}


@pytest.mark.parametrize("name", [column.name for column in samples.c if column.name != "id"])
async def test_the_rows_of_every_type_of_column_are_pydantics(database: Database, name: str) -> None:
    await write_by_statement(database, *ROWS)
    fields: dict[str, Any] = {"id": (int, ...), name: (KINDS[name] | None if name in KINDS else Any, ...)}
    model: Any = create_model("Row", **fields)
    assert (plain_of(model) is not None) == (name in KINDS)
    rows: list[Any] = await database.all(
        Statement(select(samples.c.id, samples.c[name]).order_by(samples.c.id), returns=model)
    )
    assert len(rows) == len(ROWS)
    for row, values in zip(rows, ROWS, strict=True):
        expected = model.model_validate({"id": values["id"], name: values[name]})
        assert row == expected
        assert row.model_fields_set == expected.model_fields_set
        if name in KINDS:
            assert same_json(row) == TypeAdapter(model).dump_json(expected)


async def test_columns_may_stand_in_another_order_than_the_fields(database: Database) -> None:
    await write_by_statement(database, *ROWS)
    model: Any = create_model("Row", text=(str | None, ...), string=(str | None, ...), id=(int, ...))
    statement: Statement[Any] = Statement(
        select(samples.c.id, samples.c.string, samples.c.text).order_by(samples.c.id), returns=model
    )
    for row, values in zip(await database.all(statement), ROWS, strict=True):
        assert_same(row, model.model_validate({name: values[name] for name in model.model_fields}))
        assert_same(statement.row({name: values[name] for name in ("string", "id", "text")}), row)
    first: Any = await database.one(statement)
    assert_same(first, model.model_validate({name: ROWS[0][name] for name in model.model_fields}))


async def test_a_value_that_the_model_refuses_is_refused_as_pydantic_refuses_it(database: Database) -> None:
    await write_by_statement(database, *ROWS)
    model: Any = create_model("Row", id=(int, ...), text=(str, ...))
    statement: Statement[Any] = Statement(select(samples.c.id, samples.c.text).order_by(samples.c.id), returns=model)
    with pytest.raises(ValidationError) as refused:
        await database.all(statement)
    assert refused.value.errors()[0]["loc"] == (1, "text")
