"""What the service has of its own around its resources. This file is the team's: `make update` leaves it alone."""

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
