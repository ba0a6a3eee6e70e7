"""The layers that FastAPI puts around all others, and which the foundation does without."""

from typing import Any

from fastapi._body_limit import AppBodyLimitMiddleware
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

# What they do, RequestMiddleware does (defects, the body's limit), or is off (telemetry); each costs every request.
_NEEDLESS_LAYERS = (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware)


def without_needless_layers(layer: ASGIApp) -> tuple[ASGIApp, Any]:
    """The first layer that is needed, and the handler that was added for `Exception` or for 500, if any."""
    handler = None
    while isinstance(layer, _NEEDLESS_LAYERS):
        if isinstance(layer, ServerErrorMiddleware):
            handler = layer.handler
        layer = layer.app
    return layer, handler
