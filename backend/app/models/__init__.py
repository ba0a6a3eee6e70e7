"""The tables. Every model is imported here, so that Alembic sees all of them."""

from app.models.task import Task
from groundwork.data.idempotency_records import IdempotencyRecord
from groundwork.data.tables import metadata

__all__ = ["IdempotencyRecord", "Task", "metadata"]
