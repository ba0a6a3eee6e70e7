"""The service: its resources, lifespan and middleware. A server runs `app.main:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.config import Settings, load_settings
from app.routes.tasks import router as tasks
from groundwork.serve import application
from groundwork.serve.application import CONVENTIONS, Application, lazy_app


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[None]:
    """Open what the service needs besides its database before the `yield`, and close it after.

    `app.database` is open here. What requests need goes on `app.state`.
    """
    yield


def create_app(settings: Settings) -> Application:
    """The service with these settings. It opens nothing until it serves."""
    return application.create_app(
        settings,
        resources=[
            # The routers of users' resources. With sign-in, users reach only what is their own.
            tasks,
        ],
        lifespan=lifespan,
        # Your own ASGI middleware, the outermost first: starlette.middleware.Middleware(YourClass, option=…)
        middleware=[],
        # The rest are FastAPI's own options. They stand in the OpenAPI document.
        title="Tasks API",
        version="0.1.0",
        summary="Tasks over HTTP on PostgreSQL.",
        description=f"Tasks, kept apart between users. {CONVENTIONS}",
        license_info={"name": "MIT", "identifier": "MIT"},
    )


# `app` is made when a server asks for it, so importing this module reads no settings.
__getattr__, __dir__ = lazy_app(globals(), lambda: create_app(load_settings()))
