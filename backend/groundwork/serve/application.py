"""The application factory: FastAPI with everything that surrounds the resources of a service."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from inspect import isasyncgenfunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import asyncpg
from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.auth.owner import OwnerCheck
from groundwork.auth.staff import RequireRole
from groundwork.data.connection_limits import ConnectionLimitError, require_enough_connections
from groundwork.data.connector import Connector, connection_target
from groundwork.data.database import Database
from groundwork.errors import Forbidden, NotFound, TooManyRequests, Unauthenticated
from groundwork.http import health
from groundwork.http.conditional import install_precondition_handler
from groundwork.http.cors import EXPOSED, Preflights, ReadableAnswers
from groundwork.http.middleware import RequestMiddleware
from groundwork.http.openapi import install_openapi
from groundwork.http.problems import install_problem_handlers, problem_responses
from groundwork.http.protected_routes import UnprotectedRoute, require_sign_in
from groundwork.http.root_page import install_root_page
from groundwork.http.root_path import RootPath
from groundwork.observe.access_log import AccessLog
from groundwork.observe.logging import is_json
from groundwork.observe.metrics import WORKERS, counts
from groundwork.observe.slow_statements import slow_statements
from groundwork.serve.config_error import config_error
from groundwork.serve.env_file import read_variables
from groundwork.serve.settings import ENV_FILE, Settings

if TYPE_CHECKING:
    from groundwork.data.notifications import Notifications
    from groundwork.http.rate_limit import RateLimit
    from groundwork.observe.text_log import TextAccessLog
    from groundwork.observe.tracing import Tracing

logger = logging.getLogger(__name__)

Lifespan = Callable[["Application"], AbstractAsyncContextManager[Any]]

CONVENTIONS = "The parts below hold for every operation that links to them."
"""A sentence for the description of the OpenAPI document. The library adds the guide that it points to."""
# FastAPI's own OpenTelemetry hooks cost each request about 30 µs even if nothing is exported: see observe/tracing.py.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class Application(FastAPI):
    """FastAPI with a database. If `fast` is True, FastAPI's outer layers are left out."""

    database: Database
    """Open during the lifespan. On `app.state`, its lookup would cost each request ten times as much."""

    settings: Settings

    fast: bool = True
    """Whether `groundwork.fast` serves the application: see `create_app`. The gunicorn worker obeys it, too."""

    defect_handler: Any = None
    """The team's own handler for `Exception` or 500. RequestMiddleware calls it, as ServerErrorMiddleware would."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request without the two coroutines of FastAPI and Starlette, which only ask for telemetry."""
        if self.middleware_stack is None or self.root_path or scope["type"] != "http" or not self.fast:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)

    @cached_property
    def notifications(self) -> "Notifications":
        """The subscriptions of this process to changes. No connection is opened before the first of them."""
        from groundwork.data.notifications import Notifications  # noqa: PLC0415 - only where it is used

        variable, url = self.settings.direct_url
        return Notifications(url, variable=variable, wait_seconds=self.settings.database_wait_seconds)

    def build_middleware_stack(self) -> ASGIApp:
        if self.settings.root_page:
            install_root_page(self)
        stack = super().build_middleware_stack()
        self.defect_handler = self.exception_handlers.get(Exception, self.exception_handlers.get(500))
        if not self.fast:
            return stack
        from groundwork.fast.known_routes import without_needless_layers  # noqa: PLC0415 - only where it is used

        return without_needless_layers(stack)


def create_app(
    settings: Settings,
    *,
    resources: Sequence[APIRouter],
    staff: Mapping[str, Sequence[APIRouter]] = MappingProxyType({}),
    sign_in: OwnerCheck | None = None,
    lifespan: Lifespan | None = None,
    middleware: Sequence[Middleware] = (),
    fast: bool = True,
    **options: Any,
) -> Application:
    """The service with these settings. Nothing is opened before the application's lifespan begins.

    Args:
        resources: the routers of users' resources. With sign-in, users reach only what is their own.
        staff: the routers of staff, by the role that they need. Their routes may run statements with `everybody=`.
        sign_in: a sign-in of your own instead of the tokens of AUTH_ISSUER.
        lifespan: a context that is open while the application serves, as in FastAPI. `app.database` is open in it.
        middleware: ASGI middleware around the routes, the outermost first. All of it is inside `RequestMiddleware`.
        fast: serve with `groundwork.fast`, which uses private names of FastAPI, Starlette and uvicorn. Set it to False
            when a new version of one of them breaks such a name. Then FastAPI's own routing and uvicorn's own protocol
            serve, and nothing of `groundwork.fast` is imported. The answers stay the same, but a request costs more.
            These are lost: the time limits of a connection (`CLIENT_WAIT_SECONDS`), the limits for the size of a head,
            the number of its fields and the number of requests that wait on a connection, the memory limit for all
            connections of a worker (`MEMORY_BUDGET_BYTES`), the checks of a request's head that uvicorn leaves out,
            problem details for invalid HTTP, and the notice to idle connections when a worker ends.
        options: FastAPI's own, such as `title`, `version` and `description`.

    Raises:
        UnprotectedRoute: sign-in is on, and a route takes a `user_id` without it.
        TypeError: `lifespan` is a generator, and not yet a context, or one of `resources` is no router.
    """
    if isasyncgenfunction(lifespan):
        raise TypeError("lifespan: write @asynccontextmanager above it, as in app/extensions.py")
    if wrong := [each for each in resources if not isinstance(each, APIRouter)]:
        raise TypeError(f"resources: must be routers, not {wrong[0]!r}; import the `router` of its module")
    sign_in = sign_in or _sign_in(settings)
    tracing = _tracing(settings)
    app = Application(
        lifespan=partial(_lifespan, settings, sign_in, tracing, lifespan),
        generate_unique_id_function=lambda route: route.name,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        **options,
    )
    app.settings = settings
    app.fast = fast
    rate_limit = _rate_limit(settings)
    for router in resources:
        app.include_router(router, **_owners_only(sign_in, rate_limit))
    for role, routers in staff.items():
        for router in routers:
            app.include_router(router, **_staff_only(sign_in, role))
    app.include_router(health.router)
    install_openapi(app, server_timing=settings.server_timing)
    install_problem_handlers(app)
    install_precondition_handler(app)
    if sign_in:
        require_sign_in(app.routes, sign_in.require_owner)
    if fast:
        from groundwork.fast.fast_routes import FastRoutes  # noqa: PLC0415 - only where it is used

        app.add_middleware(FastRoutes)
    if rate_limit:
        app.add_middleware(rate_limit.fields)
    for layer in reversed(middleware):
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    if settings.cors_origins:
        app.add_middleware(Preflights, **_cors(settings))
    app.add_middleware(
        _request_middleware(settings),
        body_limit_bytes=settings.request_body_limit_bytes,
        log=_access_log(settings),
        tracing=tracing,
        server_timing=settings.server_timing,
    )
    if settings.cors_origins:
        # Added after RequestMiddleware and so around it: a page may read every answer, even that of a defect.
        app.add_middleware(ReadableAnswers, **_cors(settings))
    if settings.root_path:
        app.add_middleware(RootPath, root_path=settings.root_path)
    return app


def lazy_app(
    module: dict[str, Any], create: Callable[[], FastAPI]
) -> tuple[Callable[[str], FastAPI], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a module whose attribute `app` is made when a server asks for it.

    So importing the module reads no settings.

    Args:
        module: its `globals()`.
        create: makes the application. When a setting is wrong, or a route would be open to everybody, the program ends
            with a message and without a traceback.

    Raises:
        TypeError: the module has an `app` already, which a server would take for the application.
    """
    if "app" in module:
        raise TypeError("the name `app` is taken here, as by `import app.jobs`: write `from app import jobs` instead")

    def get_attribute(name: str) -> FastAPI:
        if name != "app":
            raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")
        try:
            return create()
        except UnprotectedRoute as error:
            raise config_error(str(error)) from None
        except AttributeError as error:
            # A server would take an AttributeError as a sign that the module has no `app`. gunicorn shows no place of a
            # RuntimeError.
            raise LookupError(f"the application cannot be made: {error}") from error

    # `fastapi run` looks for `app` among the names.
    return get_attribute, lambda: [*module, "app"]


def _cors(settings: Settings) -> dict[str, Any]:
    limits = ("RateLimit", "RateLimit-Policy") if settings.rate_limit_per_minute else ()
    timing = ("Server-Timing",) if settings.server_timing else ()
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "expose_headers": [*EXPOSED, *limits, *timing],
    }


def _request_middleware(settings: Settings) -> Any:
    if not settings.websockets:
        return RequestMiddleware
    from groundwork.http.sockets import SocketMiddleware  # noqa: PLC0415 - only where it is used

    return partial(SocketMiddleware, origins=settings.cors_origins)


def _access_log(settings: Settings) -> "AccessLog | TextAccessLog":
    if not is_json(settings.log_format):
        from groundwork.observe.text_log import TextAccessLog  # noqa: PLC0415 - only where it is used

        return TextAccessLog(
            sample=settings.access_log_sample,
            slow_seconds=settings.slow_request_seconds,
            cors=bool(settings.cors_origins),
        )
    return AccessLog(
        sample=settings.access_log_sample,
        slow_seconds=settings.slow_request_seconds,
        user_key=settings.log_user_key.get_secret_value() if settings.log_user_key else None,
        addresses=settings.log_client_address,
        members=settings.log_members,
    )


def _sign_in(settings: Settings) -> OwnerCheck | None:
    """The sign-in of the settings; None without one. Its modules cost time and memory, so they are imported here."""
    if settings.auth_issuer is None or settings.auth_audience is None:
        return None
    from groundwork.auth.bearer import SignIn  # noqa: PLC0415

    return SignIn(
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
        jwks_url=settings.auth_jwks_url,
        roles_claim=settings.auth_roles_claim,
    )


def _tracing(settings: Settings) -> "Tracing | None":
    """The tracing of the settings; None without one. Its modules cost time and memory, so they are imported here."""
    if not settings.traces:
        return None
    from groundwork.observe.tracing import Tracing  # noqa: PLC0415

    return Tracing(read_variables(ENV_FILE))


def _rate_limit(settings: Settings) -> "RateLimit | None":
    """The rate limit of the settings; None without one."""
    per_minute = settings.rate_limit_per_minute
    if per_minute is None:
        return None
    from groundwork.http.rate_limit import RateLimit  # noqa: PLC0415 - only where it is used

    return RateLimit(per_minute=per_minute, burst=settings.rate_limit_burst or per_minute)


def _owners_only(sign_in: OwnerCheck | None, rate_limit: "RateLimit | None") -> dict[str, Any]:
    """The arguments of `include_router` that let users reach only what is their own, within the rate limit."""
    dependencies, responses = [], {}
    if sign_in:
        dependencies.append(Depends(sign_in.require_owner))
        responses.update(problem_responses(Unauthenticated, NotFound))
    if rate_limit:
        # After sign-in, so that nobody uses up another user's tokens.
        dependencies.append(Depends(rate_limit.require_token))
        responses.update(problem_responses(TooManyRequests))
    return {"dependencies": dependencies, "responses": responses}


def _staff_only(sign_in: OwnerCheck | None, role: str) -> dict[str, Any]:
    """The arguments of `include_router` that let only users with the role pass."""
    responses = problem_responses(Unauthenticated, Forbidden) if sign_in else {}
    return {"dependencies": [Depends(RequireRole(sign_in, role))], "responses": responses}


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    sign_in: OwnerCheck | None,
    tracing: "Tracing | None",
    inner: Lifespan | None,
    app: Application,
) -> AsyncIterator[Any]:
    if sign_in:
        # Checked again, because routes may have been added since.
        require_sign_in(app.routes, sign_in.require_owner)
    if not counts.values[WORKERS]:
        logger.warning(
            "not started by gunicorn with gunicorn.conf.py: connections have no limits of time, size and number,"
            " each process counts its own metrics, and METRICS_PORT and the log's settings have no effect;"
            " in production, start the service with python serve.py"
        )
    target = connection_target(settings.database_url.get_secret_value())
    if target.ignored:
        logger.warning("DATABASE_URL: the service ignores these parameters: %s", ", ".join(target.ignored))
    slow_statements.limit_seconds = settings.slow_statement_seconds
    check = partial(_warn_of_connection_limits, settings)
    database = Database(
        Connector(target, timeout_seconds=settings.database_wait_seconds, when_direct=check),
        pool_size=settings.database_pool_size,
        wait_seconds=settings.database_wait_seconds,
        queue_seconds=settings.database_queue_seconds,
        statement_seconds=settings.database_statement_seconds,
        open_at_start=settings.database_open_at_start,
    )
    async with AsyncExitStack() as stack:
        if tracing:
            await stack.enter_async_context(tracing)
        if settings.metrics_port:
            from groundwork.observe.process import process_sampled  # noqa: PLC0415 - only where it is used

            await stack.enter_async_context(process_sampled())
        app.database = await stack.enter_async_context(database)
        if sign_in:
            await stack.enter_async_context(sign_in)
        state = await stack.enter_async_context(inner(app)) if inner else None
        if settings.reload and not is_json(settings.log_format):
            logger.info("Ready")
        yield state


async def _warn_of_connection_limits(settings: Settings, connection: asyncpg.Connection) -> None:
    """Log an error if the workers may open too many connections.

    The start of the service checks this too, but the database may not have answered then.
    """
    try:
        await require_enough_connections(
            connection, workers=settings.web_concurrency, pool_size=settings.database_pool_size
        )
    except ConnectionLimitError as error:
        logger.error("DATABASE_POOL_SIZE: %s", error)  # noqa: TRY400 - a setting is wrong, not the code
    except asyncpg.PostgresError as error:
        logger.warning("DATABASE_POOL_SIZE is not checked: the database's connection limit cannot be read: %s", error)
