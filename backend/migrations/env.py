"""How Alembic reaches the database: the direct URL, one migration run at a time."""

import asyncio
import logging.config
from typing import Any, Literal

from alembic import command, context
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from asyncpg import LockNotAvailableError
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError
from sqlmodel.sql.sqltypes import AutoString

from app.core.direct import Unreachable, direct_connection
from app.core.logging import logging_config
from app.core.settings import load_settings
from app.models import metadata

# Any number will do that no other program takes on this database.
_LOCK = 0x67726E64776B

settings = load_settings()
logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
logger = logging.getLogger("alembic.env")


def render_item(type_: str, item: Any, autogen_context: object) -> str | Literal[False]:
    """SQLModel's string type as SQLAlchemy's, so that a migration does not depend on SQLModel."""
    if isinstance(item, AutoString):
        return f"sa.String(length={item.length})"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=True, render_item=render_item
    )
    with context.begin_transaction():
        # A second run waits here, then finds nothing left to do. The lock is the transaction's, so it works through a
        # transaction pooler too, and a killed run leaves none.
        if not connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
            logger.info("another migration is running; waiting for it to end")
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        if _is_upgrade() and (revision := _newer_revision()):
            # After a roll-back. The old version runs on the newer schema, and `/health/ready` takes it for newer, too.
            logger.warning("the schema, at revision %s, is newer than this version: nothing to migrate", revision)
        else:
            context.run_migrations()


def _is_upgrade() -> bool:
    run, *_ = getattr(context.config.cmd_opts, "cmd", (None,))
    return run is command.upgrade


def _newer_revision() -> str | None:
    """The database's revision, if this version does not know it."""
    revision = context.get_context().get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(context.config).walk_revisions()}
    return revision if revision not in known else None


async def main() -> None:
    try:
        async with direct_connection(settings) as connection:
            await connection.run_sync(migrate)
    except Unreachable as error:
        raise CommandError(str(error)) from error
    except DBAPIError as error:
        if not isinstance(error.driver_exception, LockNotAvailableError):
            raise
        raise CommandError("lock timeout: a table is in use; nothing was changed, try again later") from error


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(main())
