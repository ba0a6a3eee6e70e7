"""A service with streams, as a process. The variable FAST says whether `groundwork.fast` serves it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.core.config import load_settings
from groundwork.data.notifications import Subscription, notify
from groundwork.http.notifications import subscribed_to
from groundwork.http.routing import DatabaseDependency, UserId, router_of
from groundwork.serve.application import create_app

logger = logging.getLogger("app.streaming")
router = router_of("ticks")


@router.get("", response_class=EventSourceResponse)
async def ticks(user_id: UserId, seconds: float = 3600) -> AsyncIterator[ServerSentEvent]:
    """An event at once, and another each time."""
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
    """A response of StreamingResponse's own."""

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


resources: list[APIRouter] = [router]
app = create_app(load_settings(), resources=resources, fast=os.environ["FAST"] == "true")
