"""The worker's process, and the commands for the jobs that have failed for good."""

import asyncio
import importlib
import json
import logging.config
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Any

import asyncpg
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.errors import Unavailable
from groundwork.jobs.attempt import current_job
from groundwork.jobs.handlers import Jobs
from groundwork.jobs.records import CHANNEL, JobRecord
from groundwork.jobs.worker import Worker
from groundwork.observe.logging import log_uncaught, logging_config
from groundwork.observe.slow_statements import slow_statements
from groundwork.serve.config_error import config_error
from groundwork.serve.maintenance_connection import Unreachable, maintenance_connection
from groundwork.serve.settings import Settings, load_settings

logger = logging.getLogger("worker")

_USAGE = "python worker.py, or with `once`, `failed`, `retry ID` or `drop ID`. The ID `all` means all that have failed."
_TABLE = "the table `jobs` cannot be used; migrate it, as groundwork/docs/jobs.md shows"


def main(module: str, arguments: list[str]) -> int:
    """Run the worker or a command; returns the exit status.

    Args:
        module: the module with the service's `jobs`.
        arguments: nothing for a worker that runs until it is stopped, `once` for a worker that ends when no job is due,
            or a command.
    """
    settings = load_settings()
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format, settings.log_members))
    sys.excepthook = log_uncaught
    logging.setLogRecordFactory(_naming_the_job(logging.getLogRecordFactory()))
    match arguments:
        case [] | ["once"]:
            if find_spec(module) is None:
                file = f"{module.replace('.', '/')}.py"
                raise config_error(f"{file} is missing: write it, as groundwork/docs/jobs.md shows")
            command = _work(settings, importlib.import_module(module).jobs, until_empty=bool(arguments))
        case ["failed"]:
            command = _list_failed(settings)
        case ["retry" | "drop" as name, id_] if id_ == "all" or (id_.isascii() and id_.isdigit()):
            command = _change_failed(settings, name, None if id_ == "all" else int(id_))
        case _:
            sys.stderr.write(f"Say what to do: {_USAGE}\n")
            return os.EX_USAGE
    try:
        asyncio.run(command)
    except (Unavailable, Unreachable) as error:
        logger.error("%s", error)  # noqa: TRY400 - the database is away; the code is right
        return os.EX_UNAVAILABLE
    except (asyncpg.PostgresError, DBAPIError) as error:
        logger.error("%s: %s", _TABLE, getattr(error, "orig", error))  # noqa: TRY400 - the database is not migrated
        return os.EX_CONFIG
    return os.EX_OK


async def _work(settings: Settings, jobs: Jobs, *, until_empty: bool) -> None:
    url = settings.database_url.get_secret_value()
    _, direct = settings.direct_url
    slow_statements.limit_seconds = settings.slow_statement_seconds
    database = Database(
        Connector(connection_target(url), timeout_seconds=settings.database_wait_seconds),
        pool_size=jobs.concurrency + 1,
        wait_seconds=settings.database_wait_seconds,
        queue_seconds=settings.database_wait_seconds,
        statement_seconds=settings.database_statement_seconds,
    )
    async with database, AsyncExitStack() as stack:
        worker = Worker(jobs, database, connection_target(direct), poll_seconds=settings.jobs_poll_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        if settings.metrics_port:
            from groundwork.jobs.metrics import serve_metrics  # noqa: PLC0415 - only where it is used
            from groundwork.observe.process import process_sampled  # noqa: PLC0415

            await stack.enter_async_context(process_sampled())
            serve_metrics(settings, settings.metrics_port, worker)
        logger.info("the worker does these jobs: %s", ", ".join(jobs.handlers) or "none")
        await worker.run(stop_seconds=settings.graceful_shutdown_seconds, until_empty=until_empty)


async def _list_failed(settings: Settings) -> None:
    """A line of JSON for each job that has failed for good, the latest last."""
    failed = select(JobRecord.__table__).where(col(JobRecord.failed_at).is_not(None)).order_by(col(JobRecord.failed_at))  # type: ignore[attr-defined]
    async with maintenance_connection(settings) as connection:
        for row in (await connection.execute(failed)).mappings():
            sys.stdout.write(json.dumps(dict(row), default=str, ensure_ascii=False) + "\n")


async def _change_failed(settings: Settings, name: str, id_: int | None) -> None:
    """Put a job that has failed for good, or all of them, into the queue again, or remove them."""
    retried = update(JobRecord).values(failed_at=None, attempts=0, run_at=func.now())
    change: Any = retried if name == "retry" else delete(JobRecord)
    change = change.where(col(JobRecord.failed_at).is_not(None), id_ is None or col(JobRecord.id) == id_)
    async with maintenance_connection(settings) as connection:
        count = (await connection.execute(change)).rowcount
        await connection.execute(select(func.pg_notify(CHANNEL, "")))
        await connection.commit()
    logger.info("the command %s has changed jobs that had failed for good", name, extra={"jobs": count})


def _naming_the_job(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """A factory of log records that names the current job in each."""

    def make_record(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        if job := current_job.get():
            vars(record).update(job=job.name, job_id=job.id)
        return record

    return make_record
