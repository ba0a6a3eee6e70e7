"""The dependency of a stream that reports changes to its client."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from groundwork.data.group_members import Groups, member_statements
from groundwork.data.notifications import Notifications, Subscription
from groundwork.http.routing import DatabaseDependency, UserId


def subscribed_to(topic: str, *, members: Any = None) -> Any:
    """A dependency, `Annotated[Subscription, subscribed_to("tasks")]`: the changes of the user in the path.

    The subscription is open before the response begins. So a client that reads the rows after the response's head has
    come misses no change.

    Args:
        topic: the name that `notify` is called with.
        members: the model of the members of groups, to hear of the groups' rows, too. A change of a group is told to
            those who are members after it.

    Raises:
        TypeError: the model has no `group_column()` or no `owner_column()`.
    """
    statements = None if members is None else member_statements(members)

    async def subscribe(
        request: HTTPConnection, user_id: UserId, database: DatabaseDependency
    ) -> AsyncIterator[Subscription]:
        notifications: Notifications = request.scope["app"].notifications
        groups = Groups(database, statements) if statements else None
        async with notifications.subscribe(topic, owner=user_id, groups=groups) as subscription:
            yield subscription

    return Depends(subscribe)
