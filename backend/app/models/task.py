"""The table `tasks`."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import false
from sqlmodel import Field, SQLModel

from groundwork.data.tables import not_empty, owner_column, stripped, timestamp


class Task(SQLModel, table=True):
    """Something that a user wants to do. The table has the same limits as the API."""

    __tablename__ = "tasks"
    __table_args__ = (not_empty("user_id"), stripped("title"))

    user_id: str = owner_column()
    id: UUID = Field(primary_key=True)
    title: str = Field(max_length=200)
    description: str | None = Field(default=None, max_length=1000)
    completed: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()
