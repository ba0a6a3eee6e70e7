"""The layers around the routes: which there are, and that a team's own layer is outside them."""

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.main import create_app
from groundwork.fast.fast_routes import FastRoutes
from groundwork.http.cors import Preflights
from groundwork.http.middleware import RequestMiddleware
from groundwork.tests.http import ALICE
from groundwork.tests.stock import create_stock_app

SETTINGS = {"database_url": "postgresql://localhost/none"}


class Counting:
    seen: int = 0

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        Counting.seen += 1
        await self.app(scope, receive, send)


@pytest.mark.fast
def test_nothing_stands_outside_the_request_layer_but_cors() -> None:
    plain = create_app(Settings.model_validate(SETTINGS)).build_middleware_stack()
    assert isinstance(plain, RequestMiddleware)
    assert isinstance(plain.app, FastRoutes)
    crossing = create_app(Settings.model_validate({**SETTINGS, "cors_origins": "*"})).build_middleware_stack()
    assert isinstance(crossing, CORSMiddleware)
    assert isinstance(crossing.app, RequestMiddleware)
    assert isinstance(crossing.app.app, Preflights)
    assert isinstance(crossing.app.app.app, FastRoutes)


def test_without_the_fast_part_fastapis_own_layers_stand() -> None:
    app = create_stock_app(Settings.model_validate(SETTINGS))
    layer: Any = app.build_middleware_stack()
    layers = [type(layer)]
    while (layer := getattr(layer, "app", None) or getattr(layer, "_app", None)) is not None:
        layers.append(type(layer))
    assert layers[0] is ServerErrorMiddleware
    assert RequestMiddleware in layers
    assert APIRouter in layers
    assert FastRoutes not in layers


async def test_a_layer_that_is_added_sees_requests_that_take_the_short_way(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    app.middleware_stack = None
    app.add_middleware(Counting)
    before = Counting.seen
    assert (await client.get(ALICE)).status_code == 200
    assert Counting.seen == before + 1
