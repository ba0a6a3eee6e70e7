"""The service's own middleware and lifespan. This file belongs to the team: `make update` does not change it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.middleware import Middleware

from groundwork.serve.application import Application

# ASGI middleware, the outermost first: Middleware(YourClass, option=…)
MIDDLEWARE: list[Middleware] = []


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[None]:
    """Open what the service needs besides its database before the `yield`, and close it after.

    `app.database` is open here. What requests need goes on `app.state`.
    """
    yield
