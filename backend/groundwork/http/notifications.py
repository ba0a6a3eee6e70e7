"""The dependency of a stream that reports changes to its client."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from groundwork.data.database import Database
from groundwork.data.notifications import Notifications, Subscription
from groundwork.http.routing import DatabaseDependency, UserId

GroupsOf = Callable[[Database, str], Awaitable[Collection[object]]]


def subscribed_to(topic: str, *, groups: GroupsOf | None = None) -> Any:
    """A dependency, `Annotated[Subscription, subscribed_to("tasks")]`: the changes of the user in the path.

    The subscription is open before the response begins. So a client that reads the rows after the response's head has
    come misses no change.

    Args:
        topic: the name that `notify` is called with.
        groups: returns the ids of the groups where a user is a member, from the database. Without it, only the user's
            own rows count.
    """

    async def subscribe(
        request: HTTPConnection, user_id: UserId, database: DatabaseDependency
    ) -> AsyncIterator[Subscription]:
        notifications: Notifications = request.scope["app"].notifications
        mine = partial(groups, database, user_id) if groups else None
        async with notifications.subscribe(topic, owner=user_id, groups=mine) as subscription:
            yield subscription

    return Depends(subscribe)
