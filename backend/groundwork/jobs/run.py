"""The worker's process, and the commands for the jobs that have failed for good."""

import asyncio
import importlib
import json
import logging.config
import os
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import asyncpg
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, delete

from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.errors import Unavailable
from groundwork.jobs.attempt import current_job
from groundwork.jobs.handlers import Jobs
from groundwork.jobs.listener import Listener
from groundwork.jobs.records import CHANNEL, JobRecord
from groundwork.jobs.worker import LEASE_SECONDS, Worker
from groundwork.observe.logging import logging_config
from groundwork.serve.config_error import config_error
from groundwork.serve.maintenance_connection import Unreachable, maintenance_connection
from groundwork.serve.settings import Settings, load_settings

logger = logging.getLogger("worker")

_USAGE = "python worker.py, or … once, … failed, … retry ID, … drop ID. Instead of an ID, `all` is all that have failed."
_NO_TABLE = "there is no table `jobs`: groundwork/docs/jobs.md says how the migrations make it, and make migrate runs them"


def main(module: str, arguments: list[str], *, lease_seconds: float = LEASE_SECONDS) -> int:
    """Run the worker or a command; returns the exit status.

    Args:
        lease_seconds: after how long without a report another worker takes over the jobs of this one.
        module: the module with the service's `jobs`.
        arguments: nothing for a worker that goes on, `once` for one that ends when no job is due, or a command.
    """
    settings = load_settings()
    logging.config.dictConfig(logging_config(settings.log_level, settings.log_format))
    logging.setLogRecordFactory(_naming_the_job(logging.getLogRecordFactory()))
    match arguments:
        case [] | ["once"]:
            run = _work(settings, _jobs_of(module), lease_seconds, until_empty=bool(arguments))
        case ["failed"]:
            run = _list_failed(settings)
        case ["retry" | "drop" as command, which] if which == "all" or which.isascii() and which.isdigit():
            run = _change_failed(settings, command, None if which == "all" else int(which))
        case _:
            sys.stderr.write(f"Say what to do: {_USAGE}\n")
            return os.EX_USAGE
    try:
        asyncio.run(run)
    except (Unavailable, Unreachable) as error:
        logger.error("%s", error)  # noqa: TRY400 - the database is away; the code is right
        return os.EX_UNAVAILABLE
    except (asyncpg.UndefinedTableError, DBAPIError) as error:
        logger.error("%s: %s", _NO_TABLE, getattr(error, "orig", error))  # noqa: TRY400
        return os.EX_CONFIG
    return os.EX_OK


def _jobs_of(module: str) -> Jobs:
    if find_spec(module) is None:
        raise config_error(f"{module.replace('.', '/')}.py is missing: groundwork/docs/jobs.md says what stands in it")
    jobs: Jobs = importlib.import_module(module).jobs
    return jobs


async def _work(settings: Settings, jobs: Jobs, lease_seconds: float, *, until_empty: bool) -> None:
    url = settings.database_url.get_secret_value()
    direct_url = settings.database_direct_url.get_secret_value() if settings.database_direct_url else url
    database = Database(
        Connector(connection_target(url), timeout_seconds=settings.database_wait_seconds),
        pool_size=jobs.concurrency + 1,
        wait_seconds=settings.database_wait_seconds,
        queue_seconds=settings.database_wait_seconds,
        statement_seconds=settings.database_statement_seconds,
    )
    wake = asyncio.Event()
    listener = Listener(connection_target(direct_url), wake, poll_seconds=settings.jobs_poll_seconds)
    async with database:
        stop_seconds = settings.graceful_shutdown_seconds
        worker = Worker(jobs, database, listener, wake, stop_seconds=stop_seconds, lease_seconds=lease_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        if settings.metrics_port:
            from groundwork.jobs.metrics import serve_metrics  # noqa: PLC0415 - only where it is used

            serve_metrics(settings.metrics_port, settings, worker)
        logger.info("the worker does these jobs: %s", ", ".join(jobs.handlers) or "none")
        await worker.run(until_empty=until_empty)
        logger.info("the worker ends")


async def _list_failed(settings: Settings) -> None:
    """A line of JSON for each job that has failed for good, the latest last."""
    names = ("id", "name", "user_id", "key", "payload", "request_id", "attempts", "created_at", "failed_at", "error")
    columns = [JobRecord.__table__.c[name] for name in names]  # type: ignore[attr-defined]
    async with maintenance_connection(settings) as connection:
        failed = select(*columns).where(col(JobRecord.failed_at).is_not(None)).order_by(col(JobRecord.failed_at))
        for row in await connection.execute(failed):
            sys.stdout.write(json.dumps(row._asdict(), default=str, ensure_ascii=False) + "\n")


async def _change_failed(settings: Settings, command: str, id_: int | None) -> None:
    """Put a job that has failed for good, or all of them, into the queue again, or remove them."""
    change: Any = delete(JobRecord)
    if command == "retry":
        change = update(JobRecord).values(failed_at=None, attempts=0, run_at=func.now())
    change = change.where(col(JobRecord.failed_at).is_not(None))
    if id_ is not None:
        change = change.where(col(JobRecord.id) == id_)
    async with maintenance_connection(settings) as connection:
        count = (await connection.execute(change)).rowcount
        await connection.execute(select(func.pg_notify(CHANNEL, "")))
        await connection.commit()
    logger.info("jobs that had failed: %s", {"retry": "queued again", "drop": "removed"}[command], extra={"jobs": count})


def _naming_the_job(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """Makes log records that name the job during which they are made."""

    def make_record(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        if job := current_job.get():
            vars(record).update(job=job.name, job_id=job.id)
        return record

    return make_record
