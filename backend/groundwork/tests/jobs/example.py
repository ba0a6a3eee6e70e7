"""The jobs of these tests, written like a service's `app/jobs.py`. They record what they did in the table `effects`."""

import asyncio
import json
import logging
import os
import time
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert

from groundwork.data.database import Database, Executor, Transaction
from groundwork.data.known_tables import public
from groundwork.data.statement import Statement
from groundwork.jobs.handlers import Job, Jobs
from groundwork.jobs.records import enqueue
from groundwork.jobs.webhooks import send_webhook

logger = logging.getLogger("example")

TABLE = "CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, job bigint, name text, attempt int, number int)"
effects = public(
    Table(
        "effects",
        MetaData(),
        Column("job", Integer),
        Column("name", String),
        Column("attempt", Integer),
        Column("number", Integer),
    ),
    reason="Of these tests.",
)
_ADD: Statement[Any] = Statement(
    insert(effects).values(
        job=bindparam("of"), name=bindparam("called"), attempt=bindparam("nth"), number=bindparam("n")
    )
)

jobs = Jobs(concurrency=int(os.environ.get("CONCURRENCY", "3")))
SECRET = "whsec_" + "A" * 40
QUICKLY = [0.1] * 3


async def note(job: Job, database: Executor) -> None:
    await database.execute(_ADD, of=job.id, called=job.name, nth=job.attempts, n=job.payload.get("number", 0))


@jobs.job("once", retry_after=[0.1] * 20, timeout_seconds=2, in_transaction=True)
async def once(job: Job, statements: Transaction) -> None:
    await note(job, statements)
    await asyncio.sleep(job.payload.get("seconds", 0))


@jobs.job("at_least_once", retry_after=[0.1] * 20, timeout_seconds=2)
async def at_least_once(job: Job, database: Database) -> None:
    await note(job, database)
    await asyncio.sleep(job.payload.get("seconds", 0))


@jobs.job("long")
async def long(job: Job, database: Executor) -> None:
    await note(job, database)
    await asyncio.sleep(3600)


@jobs.job("long_in_transaction", in_transaction=True)
async def long_in_transaction(job: Job, statements: Transaction) -> None:
    await long(job, statements)


@jobs.job("poison", retry_after=QUICKLY)
async def poison(job: Job, database: Database) -> None:
    await note(job, database)
    raise ValueError("never \0 \ud800 works")


@jobs.job("poison_in_transaction", retry_after=QUICKLY, in_transaction=True)
async def poison_in_transaction(job: Job, statements: Transaction) -> None:
    await note(job, statements)
    raise ValueError("never works")


@jobs.job("hangs", retry_after=QUICKLY[:1], timeout_seconds=0.2)
async def hangs(job: Job, database: Database) -> None:
    await note(job, database)
    await asyncio.sleep(3600)


@jobs.job("hangs_in_transaction", retry_after=(), timeout_seconds=0.2, in_transaction=True)
async def hangs_in_transaction(job: Job, statements: Transaction) -> None:
    await note(job, statements)
    await asyncio.sleep(3600)


@jobs.job("blocks", retry_after=())
async def blocks(job: Job, database: Database) -> None:
    await note(job, database)
    time.sleep(3600)  # noqa: ASYNC251 - the fault that the test is about


@jobs.job("kills", retry_after=())
async def kills(job: Job, database: Database) -> None:
    await note(job, database)
    os._exit(9)


@jobs.job("fails_at_first", retry_after=QUICKLY)
async def fails_at_first(job: Job, database: Database) -> None:
    await asyncio.sleep(0.05)
    if job.attempts <= job.payload.get("times", 1):
        raise ValueError("not yet")
    await note(job, database)


@jobs.job("webhook", retry_after=QUICKLY)
async def webhook(job: Job, database: Database) -> None:
    body = json.dumps({"number": job.payload["number"]}).encode()
    await send_webhook(job, job.payload["url"], [SECRET], body, loopback=True)


@jobs.job("logs", retry_after=())
async def logs(job: Job, database: Database) -> None:
    logger.info("the job's own line")
    await enqueue(database, "once", {}, owner=job.user_id)


if os.environ.get("EVERY"):

    @jobs.job("nightly", retry_after=(), every=os.environ["EVERY"], in_transaction=True)
    async def nightly(job: Job, statements: Transaction) -> None:
        await note(job, statements)
        if os.environ.get("NIGHTLY_FAILS"):
            raise ValueError("not tonight")
