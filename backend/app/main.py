"""The service: what it is made of. `app.main:app` is what a server runs."""

from app.core.config import Settings, load_settings
from app.routes import tasks
from groundwork.serve import application
from groundwork.serve.application import CONVENTIONS, Application, lazy_app


def create_app(settings: Settings) -> Application:
    """The service with these settings. What else it needs goes here: a `lifespan`, `middleware`, other routers."""
    return application.create_app(
        settings,
        resources=[tasks.router],
        title="Tasks API",
        version="0.1.0",
        summary="Tasks over HTTP on PostgreSQL.",
        description=f"Tasks, kept apart between users. {CONVENTIONS}",
        license_info={"name": "MIT", "identifier": "MIT"},
    )


__getattr__, __dir__ = lazy_app(globals(), lambda: create_app(load_settings()))
