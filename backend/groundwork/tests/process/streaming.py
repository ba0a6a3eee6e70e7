"""A service with streams, run as a process. The variable FAST says whether `groundwork.fast` serves it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from sqlalchemy import Integer, bindparam, func, literal
from sqlmodel import select

from app.core.config import load_settings
from groundwork.data.notifications import Subscription, notify
from groundwork.data.statement import Statement
from groundwork.http.body_limit import body_limit
from groundwork.http.download import Download, csv_of
from groundwork.http.notifications import subscribed_to
from groundwork.http.routing import DatabaseDependency, UserId, router_of
from groundwork.serve.application import create_app

logger = logging.getLogger("app.streaming")
router = router_of("ticks")


@router.get("", response_class=EventSourceResponse)
async def ticks(user_id: UserId, seconds: float = 3600) -> AsyncIterator[ServerSentEvent]:
    """Sends an event at once, and another one after each pause."""
    number = 0
    try:
        while True:
            yield ServerSentEvent(data=number, id=str(number))
            number += 1
            await asyncio.sleep(seconds)
    finally:
        logger.info("generator ended")


@router.get("/late", response_class=EventSourceResponse)
async def late(user_id: UserId) -> AsyncIterator[ServerSentEvent]:
    try:
        await asyncio.sleep(3600)
        yield ServerSentEvent(data=1)
    finally:
        logger.info("generator ended")


@router.get("/slow")
async def slow(user_id: UserId, seconds: float = 2) -> dict[str, bool]:
    await asyncio.sleep(seconds)
    return {"done": True}


@router.get("/broken", response_class=EventSourceResponse)
async def broken(user_id: UserId) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(data=1)
    raise RuntimeError("broken")


@router.get("/parts")
async def parts(user_id: UserId, number: int = 3, size: int = 10, seconds: float = 0) -> StreamingResponse:
    """Returns a plain StreamingResponse."""

    async def content() -> AsyncIterator[bytes]:
        try:
            for _ in range(number):
                yield b"x" * size
                await asyncio.sleep(seconds)
        finally:
            logger.info("generator ended")

    return StreamingResponse(content())


@router.get("/changes", response_class=EventSourceResponse)
async def changes(
    user_id: UserId, subscription: Annotated[Subscription, subscribed_to("ticks")]
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="open")
    async for change in subscription:
        yield ServerSentEvent(data={"id": change.id})


@router.post("/changes/{id_}")
async def change(user_id: UserId, id_: str, database: DatabaseDependency) -> None:
    await notify(database, "ticks", owner=user_id, id_=id_)


@router.post("/upload", dependencies=[body_limit(64 * 1024 * 1024)])
async def upload(user_id: UserId, request: Request, seconds: float = 0) -> dict[str, Any]:
    size, digest = 0, sha256()
    async for part in request.stream():
        size += len(part)
        digest.update(part)
        if seconds:
            await asyncio.sleep(seconds)
    return {"size": size, "sha256": digest.hexdigest()}


@router.post("/small", dependencies=[body_limit(10)])
async def small(user_id: UserId, request: Request) -> int:
    return len(await request.body())


@router.post("/kept", dependencies=[body_limit(64 * 1024 * 1024)])
async def kept(user_id: UserId, texts: list[str]) -> int:
    return len(texts)


@router.post("/default")
async def default(user_id: UserId, request: Request) -> int:
    return len(await request.body())


class Numbered(BaseModel):
    number: int
    text: str


NUMBERS = Statement(
    select(
        func.generate_series(1, bindparam("number", type_=Integer)).label("number"),
        func.repeat(literal("x"), 1000).label("text"),
    ),
    returns=Numbered,
)


@router.get("/csv")
async def numbers(user_id: UserId, database: DatabaseDependency, number: int = 10) -> Download:
    async def rows() -> AsyncIterator[Numbered]:
        async with database.transaction(isolation="repeatable_read", readonly=True) as statements:
            async for row in statements.stream(NUMBERS, number=number):
                yield row

    content = csv_of(rows(), Numbered.model_fields)
    return Download(content, filename='nu"m\u20acbers.csv', media_type="text/csv; charset=utf-8")


resources: list[APIRouter] = [router]
app = create_app(load_settings(), resources=resources, fast=os.environ["FAST"] == "true")
