"""The service on FastAPI's own routing and uvicorn's own protocol, as `create_app(fast=False)` makes it."""

import sys
from typing import Any

from app.core.config import Settings
from app.main import create_app
from groundwork.serve import application
from groundwork.serve.application import Application

_defaults: Any = application.create_app.__kwdefaults__


def serve_stock() -> None:
    """Make `fast=False` the default of the library's `create_app` in this process."""
    _defaults["fast"] = False


def create_stock_app(settings: Settings) -> Application:
    """The service's own application, with `fast=False`."""
    before = _defaults["fast"]
    serve_stock()
    try:
        return create_app(settings)
    finally:
        _defaults["fast"] = before


def forbid_fast() -> None:
    """Make every import of `groundwork.fast` fail, as it does when a private name is gone."""
    sys.modules["groundwork.fast"] = None  # type: ignore[assignment]
