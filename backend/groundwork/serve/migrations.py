"""Alembic's environment. It connects by the direct URL, and lets one run migrate at a time.

`migrations/env.py` calls `run`.
"""

import asyncio
import logging.config
import time
from os.path import relpath
from traceback import extract_tb
from typing import Any, Literal

from alembic import command, context
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, event, func, select
from sqlalchemy.exc import DBAPIError
from sqlmodel.sql.sqltypes import AutoString

from groundwork.data import schema_state
from groundwork.data.failures import AWAY_CLASSES, LOCK_NOT_AVAILABLE, READ_ONLY
from groundwork.observe.logging import logging_config
from groundwork.serve.maintenance_connection import Unreachable, maintenance_connection
from groundwork.serve.settings import Settings, load_settings

# Any number that no other program uses for a lock on this database.
_LOCK = 0x67726E64776B
_POLL_SECONDS = 0.5
_FORBIDDEN = "42501"  # insufficient privilege (PostgreSQL manual, appendix A)
_ALREADY_THERE = "42P07"  # duplicate table
_MEND = "What was not committed is undone. Mend the migration, or the rows that it meets, and run it again."

logger = logging.getLogger("alembic.env")


def render_item(type_: str, item: Any, autogen_context: object) -> str | Literal[False]:
    """Write SQLModel's string type as SQLAlchemy's, so that a migration does not depend on SQLModel."""
    if isinstance(item, AutoString):
        return f"sa.String(length={item.length})"
    return False


def migrate(connection: Connection, metadata: MetaData) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=True, render_item=render_item
    )
    # A second run waits here and then finds nothing to do. The lock belongs to the transaction. So it also works behind
    # a transaction pooler, and a run that is killed frees it. The second run waits outside a transaction, because the
    # first run may create an index concurrently, which waits for other transactions to end.
    if not _locked(connection):
        logger.info("another migration is running; waiting for it to end")
        while not _locked(connection):
            time.sleep(_POLL_SECONDS)
    with context.begin_transaction():
        event.listen(connection, "commit", _keep_locked)
        schema_state.require_encoding(connection.scalar(select(func.current_setting("server_encoding"))) or "")
        migrations = schema_state.Migrations.of(ScriptDirectory.from_config(context.config))
        before = {*context.get_context().get_current_heads()}
        unknown = before - migrations.known
        run, *_ = getattr(context.config.cmd_opts, "cmd", (None,))
        if unknown and run is command.upgrade:
            schema_state.require_fit(_state(connection), migrations)
            # After a roll-back, the old version runs on the newer schema. `/health/ready` accepts that, too.
            revisions = ", ".join(sorted(unknown))
            logger.warning("the schema, at revision %s, is newer than this version: nothing to migrate", revisions)
        else:
            begun = time.monotonic()
            context.run_migrations()
            if {*context.get_context().get_current_heads()} != before:
                logger.info("the migrations took %.1f s", time.monotonic() - begun)
            if run is command.upgrade:
                _warn_if_unfit(connection, migrations)
        event.remove(connection, "commit", _keep_locked)


def _locked(connection: Connection) -> bool:
    """Whether this transaction has got the lock. If not, the transaction is rolled back."""
    locked = bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))
    if not locked:
        connection.rollback()
    return locked


def _keep_locked(connection: Connection) -> None:
    """Give the lock to the session before an `autocommit_block` of a migration commits. The session keeps it.

    Behind a transaction pooler the session does not belong to this run, so it does not get the lock. There, a second
    run may try the same step and fail.
    """
    driver = connection.connection.driver_connection
    if driver and connection.scalar(select(func.pg_backend_pid())) == driver.get_server_pid():
        connection.execute(select(func.pg_advisory_lock(_LOCK)))


def _warn_if_unfit(connection: Connection, migrations: schema_state.Migrations) -> None:
    """Log what the migrations have not made. It is not an error: a model may be waiting for its first migration."""
    try:
        schema_state.require_fit(_state(connection), migrations)
    except schema_state.Behind:
        pass  # this is intended, as with `alembic upgrade +1`
    except schema_state.Unfit as error:
        logger.warning("%s; until then, this version is not ready to serve", error)


def _state(connection: Connection) -> schema_state.SchemaState:
    row = connection.execute(schema_state.SCHEMA_STATE, {"tables": schema_state.needed_tables()}).one()
    return schema_state.SchemaState.model_validate(row._asdict())


def _explain(error: DBAPIError, settings: Settings) -> str | None:
    """Which migration failed and what to do; None for an error outside the migrations that is not known."""
    said = " ".join(str(error.driver_exception).split()).rstrip(".")
    state = getattr(error.driver_exception, "sqlstate", None) or ""
    name, _ = settings.direct_url
    if state == LOCK_NOT_AVAILABLE:
        return "lock timeout: a table is in use; nothing was changed, try again later"
    if state == _FORBIDDEN:
        return (
            f"{said}: nothing was changed; the role of {name} must own the tables, read and write alembic_version, and"
            " have CREATE on the schema (GRANT CREATE ON SCHEMA public TO it)"
        )
    if state == _ALREADY_THERE:
        return (
            f"{said}: nothing was changed; the database has tables that its alembic_version does not know. If it is"
            f" another service's database, correct its name in {name}. If it was restored in part, restore the whole"
            " dump, with alembic_version."
        )
    if state == READ_ONLY:
        return f"{said}: nothing was changed; migrate the primary, with a role that may write"
    if state[:2] in AWAY_CLASSES:
        return f"{said}: nothing was changed; the database cannot serve now, try again later"
    steps = [each for each in extract_tb(error.__traceback__) if "/versions/" in each.filename]
    return f"{relpath(steps[0].filename)}:{steps[0].lineno}: {said}. {_MEND}" if steps else None


async def _migrate_online(settings: Settings, metadata: MetaData) -> None:
    try:
        async with maintenance_connection(settings) as connection:
            await connection.run_sync(migrate, metadata)
    except (Unreachable, schema_state.Unfit) as error:
        raise CommandError(str(error)) from error
    except DBAPIError as error:
        if explanation := _explain(error, settings):
            raise CommandError(explanation) from error
        raise


def run(metadata: MetaData) -> None:
    """Run the migrations that Alembic was asked for.

    Args:
        metadata: the metadata of the models' tables.
    """
    settings = load_settings()
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format, settings.log_members))
    if context.is_offline_mode():
        # The usual driver of the dialect needs every % doubled. psql does not.
        context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
    else:
        try:
            asyncio.run(_migrate_online(settings, metadata))
        except KeyboardInterrupt:
            raise CommandError("interrupted; what was not committed is undone: run it again to go on") from None
