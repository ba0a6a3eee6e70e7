"""SQLModel's `AsyncSession` for routes. It is closed before the answer goes out."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends
from sqlmodel.ext.asyncio.session import AsyncSession

from groundwork.data.plain_session import open_session, reasons
from groundwork.http.routing import DatabaseDependency


def plain_session(*, reason: str | None = None) -> Any:
    """A dependency: `Session = Annotated[AsyncSession, plain_session()]`.

    Nothing checks its statements for an owner filter. So without a reason, it works only in routes that ask for a role,
    which are those of `create_app(staff=…)`. The route itself commits, because a commit after the route could not
    report its error in the answer.

    Args:
        reason: a sentence that says why a route without a role may use it too. `make guard` prints it.

    Raises:
        TypeError: the reason is empty. For a request, it means that the route asks for no role and gives no reason.
    """
    if reason == "":
        raise TypeError("the reason is empty; say in a sentence why no role is needed: plain_session(reason='...')")
    if reason is not None:
        reasons.append(reason)

    async def session(database: DatabaseDependency) -> AsyncIterator[AsyncSession]:
        async with open_session(database, reason=reason) as opened:
            yield opened

    # With FastAPI's other scope, a slow client would hold the connection until it has read the answer.
    return Depends(session, scope="function")
