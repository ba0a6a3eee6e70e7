"""The service: its resources and what surrounds them. A server runs `app.main:app`."""

from app.core.config import Settings, load_settings
from app.extensions import MIDDLEWARE, lifespan
from app.routes.tasks import router as tasks
from groundwork.serve import application
from groundwork.serve.application import CONVENTIONS, Application, lazy_app


def create_app(settings: Settings) -> Application:
    """The service with these settings. It opens nothing until it serves."""
    return application.create_app(
        settings,
        resources=[
            # The routers of users' resources. With sign-in, users reach only what is their own.
            tasks,
        ],
        lifespan=lifespan,
        middleware=MIDDLEWARE,
        # The rest are FastAPI's own options. They stand in the OpenAPI document.
        title="Tasks API",
        version="0.1.0",
        summary="Tasks over HTTP on PostgreSQL.",
        description=f"Tasks, kept apart between users. {CONVENTIONS}",
        license_info={"name": "MIT", "identifier": "MIT"},
    )


# `app` is made when a server asks for it, so importing this module reads no settings.
__getattr__, __dir__ = lazy_app(globals(), lambda: create_app(load_settings()))
