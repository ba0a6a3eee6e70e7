from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, false
from sqlmodel import Field, SQLModel

from app.core.tables import timestamp

# What Unicode calls white space; the API strips the same characters from a title's ends.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_WHITE_SPACE_SQL = "U&'" + "".join(f"\\{ord(character):04X}" for character in WHITE_SPACE) + "'"


class Task(SQLModel, table=True):
    """Something that a user wants done.

    The primary key begins with the owner: it serves reads, the newest-first list and its pages with one index, and lets
    the table be partitioned or sharded by user. The constraints promise in the database what the API promises.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        CheckConstraint("user_id <> ''", name="user_id_not_empty"),
        CheckConstraint(
            f"title <> '' AND title = btrim(title, {_WHITE_SPACE_SQL})",
            name="title_stripped",
        ),
    )

    user_id: str = Field(max_length=255, primary_key=True)
    id: UUID = Field(primary_key=True)
    title: str = Field(max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    completed: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()
