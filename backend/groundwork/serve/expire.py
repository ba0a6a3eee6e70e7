"""The daily clean-up: removes every user's idempotency keys that have expired.

Whenever a user sends a key, some of that user's expired keys are removed. This command is for users who do not come
back. It is not part of the service, because no request may reach the rows of more than one user.
"""

import logging

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from groundwork.data.idempotency_records import KEPT_FOR, IdempotencyRecord
from groundwork.serve.maintenance_connection import run_command

# Each batch is its own transaction, so that a request with an expired key does not wait for all of them.
BATCH = 10_000

logger = logging.getLogger("expire")

_KEY = tuple_(col(IdempotencyRecord.user_id), col(IdempotencyRecord.key))
_BATCH = (
    select(col(IdempotencyRecord.user_id), col(IdempotencyRecord.key))
    .where(col(IdempotencyRecord.created_at) < func.now() - KEPT_FOR)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)


async def expire(connection: AsyncConnection) -> int:
    """Remove the expired keys; returns how many there were."""
    # The role's default may be stricter. Then a key that is used again meanwhile would end the clean-up with an error.
    connection = await connection.execution_options(isolation_level="READ COMMITTED")
    total = 0
    while True:
        removed = (await connection.execute(delete(IdempotencyRecord).where(_KEY.in_(_BATCH)))).rowcount
        await connection.commit()
        total += removed
        if removed < BATCH:
            return total


async def _expire(connection: AsyncConnection) -> None:
    logger.info("expired idempotency keys removed", extra={"count": await expire(connection)})


def main() -> int:
    """Remove the expired keys; returns the exit status."""
    return run_command(_expire, logger, "the keys cannot be removed; run it again when this is mended")
