"""The keys of safe retries: the table that holds them, and its statements. `http/idempotency.py` has the header."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Index, Text, and_, any_, bindparam, delete, func, null, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select

from groundwork.data.ownership import OWNER_ID, owned
from groundwork.data.statement import Statement
from groundwork.data.tables import not_empty, owner_column, timestamp

KEPT_FOR = timedelta(hours=24)
MAX_LENGTH = 255
_CLEANED_AT_ONCE = 10


class IdempotencyRecord(SQLModel, table=True):
    """What a request with a key was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (not_empty("user_id"), not_empty("key"), Index(None, "user_id", "created_at"))

    user_id: str = owner_column()
    key: str = Field(max_length=MAX_LENGTH, primary_key=True)
    fingerprint: bytes = Field(description="Of the request, by which its retries are known.")
    answer: str | None = Field(default=None, sa_type=Text, description="NULL only until the transaction commits.")
    created_at: datetime = timestamp()


class Kept(BaseModel):
    fingerprint: bytes
    answer: str


_THIS = (owned(IdempotencyRecord), col(IdempotencyRecord.key) == bindparam("key"))
_EXPIRED = and_(owned(IdempotencyRecord), col(IdempotencyRecord.created_at) < func.now() - KEPT_FOR)

# Waits while another transaction holds the same key; one that has expired begins anew.
CLAIM: Statement[Any] = Statement(
    insert(IdempotencyRecord)
    .values(user_id=OWNER_ID, key=bindparam("key"), fingerprint=bindparam("fingerprint"))
    .on_conflict_do_update(
        index_elements=["user_id", "key"],
        set_={"fingerprint": bindparam("fingerprint"), "answer": null(), "created_at": func.now()},
        where=_EXPIRED,
    )
)
GET = Statement(select(col(IdempotencyRecord.fingerprint), col(IdempotencyRecord.answer)).where(*_THIS), returns=Kept)
# Whoever keeps an answer removes some that have expired, those of the same user: more than are added, and never many.
# The conditions on `created_at`, which hold anyway, and the array make every index and plan a good one: without
# statistics, on a new table, PostgreSQL would else read all keys of the user.
_expired = (
    select(col(IdempotencyRecord.key))
    .where(_EXPIRED)
    .order_by(col(IdempotencyRecord.created_at))
    .limit(_CLEANED_AT_ONCE)
)
_expired_keys = func.array(_expired.with_for_update(skip_locked=True).scalar_subquery())
KEEP: Statement[Any] = Statement(
    update(IdempotencyRecord)
    .where(*_THIS, col(IdempotencyRecord.created_at) == func.now())
    .values(answer=bindparam("answer"))
    .add_cte(
        delete(IdempotencyRecord).where(_EXPIRED, col(IdempotencyRecord.key) == any_(_expired_keys)).cte("cleaned")
    )
)
