"""The tables. Every model is imported here, so that Alembic sees all of them."""

from app.core.idempotency import KeptAnswer
from app.core.tables import metadata
from app.models.task import Task

__all__ = ["KeptAnswer", "Task", "metadata"]
