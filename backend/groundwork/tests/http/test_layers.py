"""The layers around the routes: which there are, and that one added by a template user stands outside them."""

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.main import create_app
from groundwork.fast.fast_routes import FastRoutes
from groundwork.http.cors import Preflights
from groundwork.http.middleware import RequestMiddleware
from groundwork.tests.http import ALICE

SETTINGS = {"database_url": "postgresql://localhost/none"}


class Counting:
    seen: int = 0

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        Counting.seen += 1
        await self.app(scope, receive, send)


def test_nothing_stands_outside_the_request_layer_but_cors() -> None:
    plain = create_app(Settings.model_validate(SETTINGS)).build_middleware_stack()
    assert isinstance(plain, RequestMiddleware)
    assert isinstance(plain.app, FastRoutes)
    crossing = create_app(Settings.model_validate({**SETTINGS, "cors_origins": "*"})).build_middleware_stack()
    assert isinstance(crossing, CORSMiddleware)
    assert isinstance(crossing.app, RequestMiddleware)
    assert isinstance(crossing.app.app, Preflights)
    assert isinstance(crossing.app.app.app, FastRoutes)


async def test_a_layer_that_is_added_sees_requests_that_take_the_short_way(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    app.middleware_stack = None
    app.add_middleware(Counting)
    before = Counting.seen
    assert (await client.get(ALICE)).status_code == 200
    assert Counting.seen == before + 1
