"""The same API as most FastAPI + SQLModel tutorials write it: a dependency yields a session for each request.

The code is not worse than in tutorials: it is asynchronous throughout, has one pool, loads nothing lazily, and sends no
second query where one is usual.
"""

import os
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import Column, DateTime
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


def _now() -> datetime:
    return datetime.now(UTC)


class TaskBase(SQLModel):
    title: str = Field(min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=1000)


class Task(TaskBase, table=True):
    __tablename__ = "tasks"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    user_id: str = Field(max_length=255, primary_key=True)
    completed: bool = False
    created_at: datetime = Field(default_factory=_now, sa_column=Column(DateTime(timezone=True)))
    updated_at: datetime = Field(default_factory=_now, sa_column=Column(DateTime(timezone=True)))


class TaskCreate(TaskBase):
    pass


class TaskRead(TaskBase):
    id: uuid.UUID
    user_id: str
    completed: bool
    created_at: datetime
    updated_at: datetime


engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=int(os.environ["DATABASE_POOL_SIZE"]),
    max_overflow=0,
)
new_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
app = FastAPI()


@app.get("/api/{user_id}/tasks", response_model=list[TaskRead])
async def list_tasks(user_id: str, session: Session) -> Sequence[Task]:
    found = await session.exec(select(Task).where(Task.user_id == user_id).order_by(col(Task.id).desc()).limit(1000))
    return found.all()


@app.post("/api/{user_id}/tasks", response_model=TaskRead, status_code=201)
async def create_task(user_id: str, data: TaskCreate, session: Session) -> Task:
    task = Task(**data.model_dump(), user_id=user_id)
    session.add(task)
    await session.commit()
    await session.refresh(task)
    return task


@app.get("/api/{user_id}/tasks/{task_id}", response_model=TaskRead)
async def get_task(user_id: str, task_id: uuid.UUID, session: Session) -> Task:
    return await _find(session, user_id, task_id)


@app.patch("/api/{user_id}/tasks/{task_id}/complete", response_model=TaskRead)
async def toggle_task(user_id: str, task_id: uuid.UUID, session: Session) -> Task:
    task = await _find(session, user_id, task_id)
    task.completed = not task.completed
    task.updated_at = _now()
    session.add(task)
    await session.commit()
    await session.refresh(task)
    return task


async def _find(session: AsyncSession, user_id: str, task_id: uuid.UUID) -> Task:
    found = await session.exec(select(Task).where(Task.id == task_id, Task.user_id == user_id))
    task = found.first()
    if task is None:
        raise HTTPException(404, "Task not found")
    return task
