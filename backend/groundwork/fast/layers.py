"""FastAPI's outer layers that an `Application` does not need."""

from fastapi._body_limit import AppBodyLimitMiddleware
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

# RequestMiddleware answers to defects and limits bodies, and telemetry is off. Each layer would cost every request.
_NEEDLESS_LAYERS = (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware)


def without_needless_layers(layer: ASGIApp) -> ASGIApp:
    """The first layer that is needed."""
    while isinstance(layer, _NEEDLESS_LAYERS):
        layer = layer.app
    return layer
