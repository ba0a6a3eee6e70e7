"""Example data for development. Each `make seed` adds more of it."""

from itertools import cycle, islice

from app.core.database import Executor
from app.schemas.task import TaskCreate
from app.services import tasks

_TITLES = ("Buy milk", "Call the bank", "Renew the passport", "Water the plants", "Write to Ada", "Pay the rent")


async def seed(database: Executor, user_id: str, count: int) -> None:
    """Add `count` tasks for the user. Every third is completed."""
    for number, title in enumerate(islice(cycle(_TITLES), count), start=1):
        task = TaskCreate(title=f"{title} ({number})", description=None, completed=number % 3 == 0)
        await tasks.create_task(database, user_id, task)
