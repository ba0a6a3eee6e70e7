"""Fills columns of existing rows, batch after batch, while the service runs.

`python -m groundwork.serve.backfill NAME` runs `migrations/backfills/NAME.py`, which says what to write:

    BACKFILL = Backfill(Task, {"priority": 0}, where=col(Task.priority).is_(None))

Each batch is a transaction of its own. If a run is stopped, run it again: the rows that it has written no longer match
`where`.
"""

import asyncio
import itertools
import logging
import os
import runpy
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, literal, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from groundwork.serve.maintenance_connection import run_command

_FOLDER = Path("migrations") / "backfills"
_LIMITS = text("SELECT set_config('statement_timeout', '30s', true), set_config('lock_timeout', '3s', true)")
_REPORT_EVERY = 100

logger = logging.getLogger("backfill")


class Backfill(NamedTuple):
    """What to write, and into which rows."""

    model: type[Any]
    """The model of the table."""
    values: Mapping[str, Any]
    """The new values of columns, by name: a value, or an expression on the row's columns."""
    where: ColumnElement[bool]
    """Selects the rows that lack the values. A row that has them must not match."""
    batch: int = 1000
    """The largest number of rows that a transaction reads and writes. Requests for these rows wait for its end."""
    pause_seconds: float = 0.05
    """The pause after a batch that has written, so that replicas and vacuum keep up."""


async def run(connection: AsyncConnection, backfill: Backfill) -> int:
    """Write all batches; returns how many rows were written.

    Raises:
        DBAPIError: a batch has failed. The batches before it are kept.
    """
    connection = await connection.execution_options(isolation_level="READ COMMITTED")
    columns = [*backfill.model.__table__.primary_key]
    key = tuple_(*columns)
    after: list[ColumnElement[bool]] = []
    written = 0
    for number in itertools.count(1):
        async with connection.begin():
            await connection.execute(_LIMITS)
            next_keys = select(*columns).where(*after).order_by(*columns).limit(backfill.batch)
            keys = (await connection.execute(next_keys)).all()
            if not keys:
                break
            last = tuple_(*(literal(value, each.type) for value, each in zip(keys[-1], columns, strict=True)))
            write = update(backfill.model).where(*after, key <= last, backfill.where).values(**backfill.values)
            changed = (await connection.execute(write)).rowcount
        after = [key > last]
        written += changed
        if number % _REPORT_EVERY == 0:
            logger.info("the backfill is in progress", extra={"batches": number, "written": written})
        await asyncio.sleep(backfill.pause_seconds if changed else 0)
    return written


async def _report(connection: AsyncConnection, backfill: Backfill) -> None:
    logger.info("the backfill is done", extra={"written": await run(connection, backfill)})


def main(arguments: list[str]) -> int:
    """Run a backfill; returns the exit status.

    Args:
        arguments: the backfill's name.
    """
    path = _FOLDER / f"{' '.join(arguments)}.py"
    if not path.is_file():
        sys.stderr.write(f"There is no {path}. Give the name of a backfill: python -m groundwork.serve.backfill NAME\n")
        return os.EX_USAGE
    try:
        backfill = runpy.run_path(str(path)).get("BACKFILL")
        if backfill is None:
            sys.stderr.write(f"{path} has no BACKFILL: write BACKFILL = Backfill(…), as docs/migrations.md shows\n")
            return os.EX_CONFIG
        return run_command(partial(_report, backfill=backfill), logger, "what was written is kept; run it again")
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. What was written is kept. Run it again to write the rest.\n")
        return os.EX_TEMPFAIL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
