"""A resource for tests, with a member and a column of each type."""

import enum
from copy import copy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import Query, Request, Response
from pydantic import AfterValidator, BaseModel, HttpUrl, JsonValue, PastDate, StringConstraints, create_model
from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Integer,
    Interval,
    MetaData,
    Numeric,
    Text,
    bindparam,
    insert,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import CITEXT, JSONB
from sqlalchemy.orm import registry
from sqlalchemy.schema import CreateTable
from sqlmodel import Field, SQLModel, col, select

from app.core.database import Database, Executor
from groundwork import ids
from groundwork.data.ownership import owned
from groundwork.data.rows import before_cursor, insert_values, owned_row, require_found
from groundwork.data.statement import Statement
from groundwork.data.tables import metadata, owner_column, timestamp
from groundwork.data.values import JSONForm, enum_text
from groundwork.data.versions import PartialUpdate
from groundwork.http.bodies import Changes, RequestBody
from groundwork.http.conditional import CONDITIONS, RequestCondition, not_modified_or, with_etag
from groundwork.http.idempotency import RETRIES, IdempotencyKey, create_once
from groundwork.http.routing import UserId, router_of

Small = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]


class Colour(enum.Enum):
    DARK_RED = "dark red"
    GREEN = "green"


class Mood(enum.StrEnum):
    GOOD = "fine"
    BAD = "poor"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Spot(RequestBody):
    """A model inside a model that is inside another one."""

    name: str
    distance: Money


class Place(RequestBody):
    """A model inside another one."""

    name: str
    since: date
    near: list[Spot]


class Members(BaseModel):
    """The members that a body and an answer share."""

    note: str
    nickname: str
    code: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    website: Annotated[HttpUrl, AfterValidator(str)]
    small: Small
    big: int
    level: Level
    weight: float
    done: bool
    price: Money
    ratio: Decimal
    day: date
    born: PastDate
    moment: datetime
    opens: time
    lasts: timedelta
    reference: UUID
    colour: Colour
    mood: Mood
    tags: set[str]
    scores: list[Small]
    prices: tuple[Money, ...]
    place: Place
    places: list[Place]
    counts: dict[UUID, int]
    extra: dict[str, Any]
    anything: JsonValue = Field(default_factory=lambda: None)
    maybe: Decimal | None


class SpecimenCreate(RequestBody, Members):
    """The body of a new specimen."""


def _optional(name: str) -> Any:
    field = copy(Members.model_fields[name])
    field.default_factory = lambda: None
    return field.annotation, field


SpecimenUpdate: Any = create_model(
    "SpecimenUpdate", __base__=Changes, **{name: _optional(name) for name in Members.model_fields}
)


class SpecimenRead(Members):
    website: str  # type: ignore[assignment] # pyright: ignore[reportIncompatibleVariableOverride]
    id: ids.Id
    user_id: str
    created_at: datetime
    updated_at: datetime


class _Own(SQLModel, registry=registry()):
    """The base of these models, apart from the service's."""

    metadata = MetaData(naming_convention=metadata.naming_convention)


class Specimen(_Own, table=True):
    __tablename__ = "specimens"

    user_id: str = owner_column()
    id: UUID = Field(primary_key=True)
    note: str = Field(sa_type=Text)
    nickname: str = Field(sa_type=CITEXT)
    code: str = Field(max_length=3)
    website: str = Field(sa_type=Text)
    small: int
    big: int = Field(sa_type=BigInteger)
    level: int
    weight: float
    done: bool
    price: Decimal = Field(max_digits=12, decimal_places=2)
    ratio: Decimal = Field(sa_type=Numeric)
    day: date
    born: date
    moment: datetime = Field(sa_type=DateTime(timezone=True))
    opens: time
    lasts: timedelta = Field(sa_type=Interval)
    reference: UUID
    colour: Colour = Field(sa_type=enum_text(Colour))
    mood: Mood = Field(sa_type=enum_text(Mood, native=True))
    tags: list[str] = Field(sa_type=ARRAY(Text))
    scores: list[int] = Field(sa_type=ARRAY(Integer))
    prices: list[Decimal] = Field(sa_type=ARRAY(Numeric(12, 2)))
    place: dict[str, Any] = Field(sa_type=JSONB)
    places: list[Any] = Field(sa_type=JSONB)
    counts: dict[str, int] = Field(sa_type=JSONB)
    extra: dict[str, Any] = Field(sa_type=JSONB)
    anything: Any = Field(sa_type=JSONB, nullable=True)
    maybe: Decimal | None = Field(default=None, sa_type=Numeric)
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


async def create_table(connection: asyncpg.Connection) -> None:
    table: Any = Specimen.__table__  # type: ignore[attr-defined]
    await connection.execute(
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('fine', 'poor');"
        + str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    )


_LIST = Statement(
    select(Specimen).where(owned(Specimen), before_cursor(Specimen)).order_by(col(Specimen.id).desc()),
    returns=SpecimenRead,
)
_CREATE = Statement(insert(Specimen).values(insert_values(Specimen)).returning(Specimen), returns=SpecimenRead)
_GET = Statement(select(Specimen).where(owned_row(Specimen)), returns=SpecimenRead)
_UPDATE = PartialUpdate(update(Specimen).where(owned_row(Specimen)), Specimen, _GET, returns=SpecimenRead)

_SMALL = Statement(
    select(Specimen).where(owned(Specimen), col(Specimen.small) == bindparam("small")).order_by(col(Specimen.id)),
    returns=SpecimenRead,
)

router, unbounded = router_of("specimens"), router_of("small")


@router.get("")
async def list_specimens(
    user_id: UserId,
    database: Database,
    moment: Annotated[datetime | None, JSONForm(), Query()] = None,
    price: Annotated[Money | None, JSONForm(), Query()] = None,
    big: Annotated[int | None, JSONForm(), Query()] = None,
    note: Annotated[str | None, JSONForm(), Query()] = None,
    mood: Mood | None = None,
) -> list[SpecimenRead]:
    return await database.all(_LIST, owner=user_id, before=ids.LARGEST)


async def _create(statements: Executor, user_id: str, specimen: SpecimenCreate) -> SpecimenRead:
    values = {name: getattr(specimen, name) for name in SpecimenCreate.model_fields}
    return require_found(await statements.one(_CREATE, owner=user_id, **ids.new_row(), **values), Specimen)


@router.post("", status_code=201, response_model=SpecimenRead, openapi_extra=RETRIES)
async def create_specimen(
    user_id: UserId,
    specimen: SpecimenCreate,
    database: Database,
    key: IdempotencyKey,
    request: Request,
    response: Response,
) -> Any:
    create = partial(_create, user_id=user_id, specimen=specimen)
    return await create_once(key, create, database, user_id, request, response)


@router.get("/{specimen_id}", response_model=SpecimenRead, openapi_extra=CONDITIONS)
async def get_specimen(
    user_id: UserId, specimen_id: UUID, database: Database, condition: RequestCondition, response: Response
) -> Any:
    specimen = require_found(await database.one(_GET, owner=user_id, id=specimen_id), Specimen)
    return not_modified_or(response, specimen, condition)


@router.put("/{specimen_id}", openapi_extra=CONDITIONS)
async def update_specimen(
    user_id: UserId,
    specimen_id: UUID,
    specimen: SpecimenUpdate,  # pyright: ignore[reportInvalidTypeForm] - made at run time
    database: Database,
    condition: RequestCondition,
    response: Response,
) -> SpecimenRead:
    changed = await _UPDATE.one(database, condition, specimen.fields_set(), owner=user_id, id=specimen_id)
    return with_etag(response, changed)


@unbounded.get("")
async def list_small_ones(user_id: UserId, database: Database, small: int) -> list[SpecimenRead]:
    return await database.all(_SMALL, owner=user_id, small=small)
