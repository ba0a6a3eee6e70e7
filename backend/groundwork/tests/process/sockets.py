"""A service with WebSockets, run as a process. The variable FAST says whether `groundwork.fast` serves it."""

import asyncio
import os
from typing import Annotated

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel
from sqlalchemy import literal
from sqlmodel import select

from app.core.config import load_settings
from groundwork.data.notifications import Subscription, notify
from groundwork.data.statement import Statement
from groundwork.errors import Conflict
from groundwork.http.notifications import subscribed_to
from groundwork.http.routing import DatabaseDependency, UserId, router_of
from groundwork.serve.application import create_app

router = router_of("socket")
staff = APIRouter()


@router.websocket("")
async def echo(websocket: WebSocket, user_id: UserId, number: int = 0) -> None:
    await websocket.accept()
    while True:
        text = await websocket.receive_text()
        if text == "close":
            await websocket.close(4000)
        if text in ("close", "return"):
            return
        if text == "conflict":
            raise Conflict
        if text == "fail":
            raise RuntimeError("it fails")
        await websocket.send_text(f"{user_id}: {text}")


@router.websocket("/deaf")
async def deaf(websocket: WebSocket, user_id: UserId) -> None:
    """A handler that neither receives nor sends."""
    await websocket.accept()
    await asyncio.sleep(3600)


@router.websocket("/flood")
async def flood(websocket: WebSocket, user_id: UserId) -> None:
    await websocket.accept()
    while True:
        await websocket.send_bytes(b"x" * 100_000)


@router.websocket("/changes")
async def changes(
    websocket: WebSocket, user_id: UserId, changes: Annotated[Subscription, subscribed_to("socket")]
) -> None:
    await websocket.accept()
    async for change in changes:
        await websocket.send_text(str(change.id))


@router.websocket("/refused")
async def refused(websocket: WebSocket, user_id: UserId) -> None:
    raise Conflict


@router.websocket("/forgotten")
async def forgotten(websocket: WebSocket, user_id: UserId) -> None:
    """A handler that returns without an answer."""


@router.websocket("/closed")
async def closed(websocket: WebSocket, user_id: UserId) -> None:
    await websocket.close()


class One(BaseModel):
    one: int


ONE = Statement(select(literal(1).label("one")), returns=One)
ALL = Statement(select(literal(1).label("one")), returns=One, everybody="A test looks at who may run it.")


@router.websocket("/database")
async def database(websocket: WebSocket, user_id: UserId, database: DatabaseDependency) -> None:
    await websocket.accept()
    row = await database.one(ONE)
    assert row
    await websocket.send_text(str(row.one))
    await websocket.receive_text()


@router.websocket("/everybody")
async def everybody(websocket: WebSocket, user_id: UserId, database: DatabaseDependency) -> None:
    await websocket.accept()
    await database.one(ALL)
    await websocket.send_text("all")


@router.post("/changes/{id_}")
async def change(user_id: UserId, id_: str, database: DatabaseDependency) -> None:
    await notify(database, "socket", owner=user_id, id_=id_)


@staff.websocket("/staff/socket")
async def of_staff(websocket: WebSocket, database: DatabaseDependency) -> None:
    await websocket.accept()
    await database.one(ALL)
    await websocket.send_text("staff")


app = create_app(load_settings(), resources=[router], staff={"support": [staff]}, fast=os.environ["FAST"] == "true")
