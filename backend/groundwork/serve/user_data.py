"""Exports or erases the data of one user, in all tables whose rows belong to users.

The tables of groups are left out, because their rows belong to the other members too. A user's memberships belong to
the user. The commands are not part of the service, because no request may do so much.
"""

import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

from sqlalchemy import Column, Table, Text, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from groundwork.data.known_tables import owner_of
from groundwork.data.ownership import column_named
from groundwork.data.tables import metadata
from groundwork.serve.maintenance_connection import run_command

logger = logging.getLogger("user_data")

_USAGE = "python user_data.py export USER > user.jsonl, or python user_data.py erase USER"


async def export(connection: AsyncConnection, user_id: str) -> AsyncGenerator[str, None]:
    """A line of JSON for each row: `{"table": "tasks", "row": {…}}`. All rows are of one snapshot.

    Only a few rows are in memory at a time.
    """
    connection = await connection.execution_options(isolation_level="REPEATABLE READ")
    async with connection.begin():
        for table, owner in _users_tables():
            # As text, because a number would lose digits if Python read it from JSON.
            row: Any = cast(func.to_jsonb(table.table_valued()), Text)
            found = await connection.stream(select(row).where(owner == user_id).order_by(*table.primary_key))
            async for (text,) in found:
                yield f'{{"table": {json.dumps(table.name)}, "row": {text}}}'


async def erase(connection: AsyncConnection, user_id: str) -> dict[str, int]:
    """Remove every row of the user, or none after an error. Returns how many each table had.

    Raises:
        IntegrityError: a row that is not the user's refers to one of them.
    """
    removed = {}
    async with connection.begin():
        # The tables that refer to others come first.
        for table, owner in reversed(_users_tables()):
            removed[table.name] = (await connection.execute(delete(table).where(owner == user_id))).rowcount
    return removed


def _users_tables() -> list[tuple[Table, Column[Any]]]:
    """Each table whose rows belong to users, with the column of the user. A table comes after those it refers to."""
    found = ((table, owner_of(table)) for table in metadata.sorted_tables)
    return [(table, column_named(table, owner.column)) for table, owner in found if owner and owner.members is None]


class _NotWritten(Exception):
    """The export cannot be written. The message says why."""


async def _print_export(connection: AsyncConnection, user_id: str) -> None:
    async with aclosing(export(connection, user_id)) as lines:
        async for line in lines:
            _write(f"{line}\n")
    _write("", last=True)


def _write(text: str, *, last: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if last:
            sys.stdout.flush()
    except OSError as error:  # it would be taken for one of the connection to the database
        raise _NotWritten(
            f"the export cannot be written, and is incomplete: {error}; run it again, to a place with room"
        ) from error


async def _report_erasure(connection: AsyncConnection, user_id: str) -> None:
    logger.info("the user's rows are erased", extra={"rows": await erase(connection, user_id)})


_COMMANDS = {"export": _print_export, "erase": _report_erasure}


def main(arguments: list[str]) -> int:
    """Run a command for a user; returns the exit status.

    Args:
        arguments: `export` or `erase`, and the user's id.
    """
    match arguments:
        case [name, user_id] if name in _COMMANDS and user_id:
            work = partial(_COMMANDS[name], user_id=user_id)
            try:
                return run_command(work, logger, "nothing was changed; run it again when this is mended")
            except _NotWritten as error:
                logger.error("%s", error)  # noqa: TRY400 - the disk or the reader is at fault
                return os.EX_IOERR
    sys.stderr.write(f"Say what to do, and for whom: {_USAGE}\n")
    return os.EX_USAGE
