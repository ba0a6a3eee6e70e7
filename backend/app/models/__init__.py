"""The tables. Import every model here, because Alembic compares these tables with the database."""

from app.models.task import Task
from groundwork.data.idempotency_records import IdempotencyRecord
from groundwork.data.tables import metadata

__all__ = [
    "IdempotencyRecord",
    "Task",
    "metadata",
]
