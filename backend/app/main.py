"""The application factory, and the ASGI entry point `app.main:app`."""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
from fastapi import Depends, FastAPI
from fastapi._body_limit import AppBodyLimitMiddleware
from fastapi.telemetry._asgi import ExceptionTelemetryMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from app.core import health
from app.core.access_log import AccessLog
from app.core.budget import BudgetError, require_fit
from app.core.conditional import install_changed_handler
from app.core.cors import EXPOSED, Preflights, ReadableAnswers
from app.core.database import Database
from app.core.errors import NotFound, Unauthenticated
from app.core.fast_routes import FastRoutes
from app.core.logging import is_json
from app.core.metrics import WORKERS, counts
from app.core.middleware import RequestMiddleware
from app.core.openapi import install_openapi
from app.core.owned_routes import OpenRoute, require_sign_in
from app.core.pool import Connection
from app.core.postgres import Connector, connection_target
from app.core.problems import install_problem_handlers, problem_responses
from app.core.root_path import RootPath
from app.core.settings import Settings, load_settings
from app.routes import tasks

if TYPE_CHECKING:
    from app.core.sign_in import SignIn
    from app.core.tracing import Tracing

logger = logging.getLogger(__name__)

_RESOURCES = (tasks,)

_DESCRIPTION = """\
Tasks, kept apart between users. Errors are problem details (RFC 9457); every response carries `X-Request-ID`, which
finds the request in the log. HEAD answers wherever GET does. An `Idempotency-Key` on another operation than those that
list it is refused with 400, except where nothing is changed (GET, HEAD).
"""
# FastAPI's own OpenTelemetry hooks cost about 30 µs a request even when nothing is exported: see app.core.tracing.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


# What they do, RequestMiddleware does (defects, the body's limit), or is off (telemetry); each costs every request.
_NEEDLESS_LAYERS = (ServerErrorMiddleware, ExceptionTelemetryMiddleware, AppBodyLimitMiddleware)


class Application(FastAPI):
    """FastAPI without the layers that it puts around all others."""

    database: Database
    """While the application lives. On `app.state`, it would be looked up at ten times the cost, with each request."""

    defect_handler: Any = None
    """What the team added for `Exception` or for 500. RequestMiddleware calls it; ServerErrorMiddleware would."""

    def build_middleware_stack(self) -> ASGIApp:
        layer = super().build_middleware_stack()
        while isinstance(layer, _NEEDLESS_LAYERS):
            if isinstance(layer, ServerErrorMiddleware):
                self.defect_handler = layer.handler
            layer = layer.app
        return layer


def create_app(settings: Settings) -> Application:
    """The service with these settings. Nothing is opened before the application's lifespan begins.

    Raises:
        OpenRoute: sign-in is on, and a route takes a `user_id` without it.
    """
    sign_in = _sign_in(settings)
    tracing = _tracing(settings)
    app = Application(
        title="Groundwork",
        version="0.1.0",
        summary="Tasks over HTTP on PostgreSQL.",
        description=_DESCRIPTION,
        lifespan=_lifespan(settings, sign_in, tracing),
        generate_unique_id_function=lambda route: route.name,
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    for resource in _RESOURCES:
        app.include_router(resource.router, **_owners_only(sign_in))
    app.include_router(health.router)
    install_openapi(app)
    install_problem_handlers(app)
    install_changed_handler(app)
    if sign_in:
        require_sign_in(app.routes, sign_in.require_owner)
    app.add_middleware(FastRoutes)
    if settings.cors_origins:
        app.add_middleware(Preflights, **_cors(settings))
    app.add_middleware(
        RequestMiddleware,
        body_limit_bytes=settings.request_body_limit_bytes,
        log=_access_log(settings),
        tracing=tracing,
    )
    if settings.cors_origins:
        # Added last, it is the outermost: a page may read every answer, those of the layer below to defects included.
        app.add_middleware(ReadableAnswers, **_cors(settings))
    if settings.root_path:
        app.add_middleware(RootPath, root_path=settings.root_path)
    return app


def _cors(settings: Settings) -> dict[str, Any]:
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED,
    }


def _access_log(settings: Settings) -> AccessLog:
    return AccessLog(
        json=is_json(settings.log_format),
        sample=settings.access_log_sample,
        slow_seconds=settings.slow_request_seconds,
        user_key=settings.log_user_key.get_secret_value() if settings.log_user_key else None,
    )


def _sign_in(settings: Settings) -> "SignIn | None":
    """None where everybody may ask for everything: then nothing of it is imported, which costs time and memory."""
    if settings.auth_issuer is None or settings.auth_audience is None:
        return None
    from app.core.sign_in import SignIn  # noqa: PLC0415

    return SignIn(issuer=settings.auth_issuer, audience=settings.auth_audience, jwks_url=settings.auth_jwks_url)


def _tracing(settings: Settings) -> "Tracing | None":
    """None where nothing is traced: then nothing of it is imported, as above."""
    if not settings.traces:
        return None
    from app.core.tracing import Tracing  # noqa: PLC0415

    return Tracing()


def _owners_only(sign_in: "SignIn | None") -> dict[str, Any]:
    """What a router is included with, so that each user reaches what is their own, and nobody else does."""
    if sign_in is None:
        return {}
    return {
        "dependencies": [Depends(sign_in.require_owner)],
        "responses": problem_responses(Unauthenticated, NotFound),
    }


def _lifespan(settings: Settings, sign_in: "SignIn | None", tracing: "Tracing | None") -> Any:
    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        if sign_in:
            # Once more: routes may have been added since.
            require_sign_in(app.routes, sign_in.require_owner)
        if not counts.values[WORKERS]:
            logger.warning(
                "not started by gunicorn with gunicorn.conf.py: connections have no bounds of time, size and number,"
                " each process counts its own metrics, and METRICS_PORT and the log's settings have no effect"
            )
        target = connection_target(settings.database_url.get_secret_value())
        if target.ignored:
            logger.warning("DATABASE_URL: these parameters have no effect here: %s", ", ".join(target.ignored))
        database = Database(
            Connector(
                target,
                timeout_seconds=settings.database_wait_seconds,
                when_direct=partial(_complain_of_budget, settings),
            ),
            pool_size=settings.database_pool_size,
            wait_seconds=settings.database_wait_seconds,
            queue_seconds=settings.database_queue_seconds,
            statement_seconds=settings.database_statement_seconds,
        )
        async with tracing or nullcontext(), database as app.database, sign_in or nullcontext():
            yield

    return lifespan


async def _complain_of_budget(settings: Settings, connection: Connection) -> None:
    """The start checks it too, and refuses; but there the database may have been away."""
    try:
        await require_fit(connection, workers=settings.web_concurrency, pool_size=settings.database_pool_size)
    except BudgetError as error:
        logger.error("DATABASE_POOL_SIZE: %s", error)  # noqa: TRY400 - a setting is wrong, not the code
    except asyncpg.PostgresError as error:
        logger.warning("the database's limit of connections cannot be read: %s", error)


def __dir__() -> list[str]:
    """Also `app`: `fastapi run` looks for it here."""
    return [*globals(), "app"]


def __getattr__(name: str) -> FastAPI:
    """`app.main:app`: made from the environment when a server asks for it, so that importing this module reads nothing.

    Raises:
        SystemExit: a setting is wrong or missing, or a route would be open to everybody.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return create_app(load_settings())
    except OpenRoute as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(os.EX_CONFIG) from None
