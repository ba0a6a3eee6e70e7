"""Statements of these tests. They are compiled while the table is known."""

from typing import Any
from uuid import uuid4

from sqlalchemy import bindparam, insert

from app.models.task import Task
from groundwork.data.ownership import OWNER_ID
from groundwork.data.statement import Statement
from groundwork.jobs.records import with_job

CREATE: Statement[Any] = Statement(
    insert(Task)
    .values(user_id=OWNER_ID, id=uuid4(), title=bindparam("new_title"), completed=False)
    .add_cte(with_job("once"))
)
"""Creates a task together with its job."""
