"""The table of idempotency keys, and the statements on it. `http/idempotency.py` handles the header."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Delete, Index, Text, and_, any_, bindparam, delete, func, null, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Field, SQLModel, col, select

from groundwork.data.ownership import OWNER_ID, owned
from groundwork.data.statement import Statement
from groundwork.data.tables import key_text, not_empty, owner_column, timestamp

KEPT_FOR = timedelta(hours=24)
"""How long a key and its answer are kept."""

MAX_LENGTH = 255
"""How many characters a key has at most."""

_CLEANED_AT_ONCE = 10


class IdempotencyRecord(SQLModel, table=True):
    """The answer to a request that had an `Idempotency-Key`."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (not_empty("user_id"), not_empty("key"), Index(None, "user_id", "created_at"))

    user_id: str = owner_column()
    key: str = key_text(MAX_LENGTH, primary_key=True)
    fingerprint: bytes = Field(description="Hash of the request; a retry has the same one.")
    answer: str | None = Field(
        default=None, sa_type=Text, description="NULL only inside the transaction that makes it."
    )
    created_at: datetime = timestamp()


class Kept(BaseModel):
    """What `GET` reads of a record."""

    fingerprint: bytes
    answer: str


_THIS = (owned(IdempotencyRecord), col(IdempotencyRecord.key) == bindparam("key"))
_OLDEST = func.now() - KEPT_FOR
_EXPIRED = and_(owned(IdempotencyRecord), col(IdempotencyRecord.created_at) < _OLDEST)
CURRENT = col(IdempotencyRecord.created_at) >= _OLDEST
"""The condition that a record has not expired."""


def claim(key: Any, fingerprint: Any, answer: Any) -> Any:
    """An insert of a record that does nothing while the key is in use. A record that has expired is overwritten.

    It waits while another transaction writes a record with the same key. It writes one row or none.
    """
    return (
        insert(IdempotencyRecord)
        .values(user_id=OWNER_ID, key=key, fingerprint=fingerprint, answer=answer)
        .on_conflict_do_update(
            index_elements=["user_id", "key"],
            set_={"fingerprint": fingerprint, "answer": answer, "created_at": func.now()},
            where=_EXPIRED,
        )
    )


def removal(*conditions: ColumnElement[bool]) -> Delete:
    """Removes a few of the user's expired records, among those that meet the conditions.

    It removes more than one, so that their number falls, and never many, so that it stays quick.
    """
    created_at = col(IdempotencyRecord.created_at)
    oldest = select(col(IdempotencyRecord.key), created_at).where(_EXPIRED, *conditions).order_by(created_at)
    chosen = oldest.limit(_CLEANED_AT_ONCE).with_for_update(skip_locked=True).cte("expired")
    keys = func.array(select(chosen.c.key).scalar_subquery())
    newest = select(func.max(chosen.c.created_at)).scalar_subquery()
    # The conditions on `created_at` hold anyway. With them and the array, PostgreSQL reads few rows whichever index it
    # chooses. Otherwise it may read all keys of the user, or all that have expired.
    return delete(IdempotencyRecord).where(_EXPIRED, created_at <= newest, col(IdempotencyRecord.key) == any_(keys))


CLAIM: Statement[Any] = Statement(claim(bindparam("key"), bindparam("fingerprint"), null()))
"""Claims a key, without an answer. `KEEP` adds the answer in the same transaction."""

GET = Statement(select(col(IdempotencyRecord.fingerprint), col(IdempotencyRecord.answer)).where(*_THIS), returns=Kept)
"""Reads the record of a key."""

KEEP: Statement[Any] = Statement(
    update(IdempotencyRecord)
    .where(*_THIS, col(IdempotencyRecord.created_at) == func.now())
    .values(answer=bindparam("answer"))
    .add_cte(removal().cte("cleaned"))
)
"""Adds the answer to the record that `CLAIM` wrote in the same transaction, and removes a few expired records."""

CORRECT: Statement[Any] = Statement(
    update(IdempotencyRecord)
    .where(*_THIS, col(IdempotencyRecord.answer) == bindparam("answer"))
    .values(answer=bindparam("corrected"))
)
"""Replaces an answer that was predicted and stored before the insert, if the inserted row is another one."""

FORGET: Statement[Any] = Statement(
    delete(IdempotencyRecord).where(*_THIS, col(IdempotencyRecord.answer) == bindparam("answer"))
)
"""Removes a record whose answer is about a row that was not inserted."""
