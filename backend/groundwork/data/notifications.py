"""Tells this process of changes that any process has committed, with PostgreSQL's LISTEN and NOTIFY.

All events go through one channel. A process listens on one connection, whatever the number of its subscribers, and only
while there are any. A transaction pooler would lose LISTEN with the session, so the connection must bypass it.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from functools import cache
from random import uniform
from typing import Any, NamedTuple, Self

from sqlalchemy import Text, bindparam, func, select

from groundwork.data import connection_limits
from groundwork.data.connector import connection_target
from groundwork.data.database import Executor
from groundwork.data.failures import CONNECTION_ERRORS
from groundwork.data.group_members import Groups
from groundwork.data.listen import BehindPooler, listen
from groundwork.data.statement import Statement
from groundwork.errors import AppError, Unavailable

logger = logging.getLogger(__name__)

CHANNEL = "groundwork"
PAYLOAD_LIMIT_BYTES = 7999
"""PostgreSQL's limit."""
PENDING_LIMIT = 100
"""How many changes wait for a slow subscriber. Beyond it they are replaced by `EVERYTHING`."""
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 10.0

connection_limits.further["to listen for changes"] = 1
_NOTIFY: Statement[Any] = Statement(select(func.pg_notify(CHANNEL, bindparam("payload", type_=Text))))

# The topic, and the user or the group that owns the row.
_Key = tuple[str, str | None, str | None]


class Change(NamedTuple):
    """What has changed. It holds ids only: the subscriber reads the row, with the conditions of every other read."""

    id: str | None
    """The row's id; None if changes may have been missed, so that everything has to be read again."""
    group: str | None = None
    """The group that owns the row, if one does."""


EVERYTHING = Change(None)


async def notify(
    statements: Executor, topic: str, *, id_: object, owner: str | None = None, group: object = None
) -> None:
    """Tell the owner's subscribers of a change.

    Args:
        statements: the transaction of the change. The event is sent when it commits, and not if it is rolled back.
        topic: what `Notifications.subscribe` asks for.
        id_: the row's id.
        owner: the user that owns the row.
        group: the group that owns it instead.

    Raises:
        TypeError: there is neither an owner nor a group, or both.
        ValueError: the ids are larger than `PAYLOAD_LIMIT_BYTES` together.
    """
    if (owner is None) == (group is None):
        raise TypeError("say whose the change is: owner= or group=")
    group = None if group is None else str(group)
    payload = json.dumps([topic, owner, group, str(id_)], ensure_ascii=False)
    if len(payload.encode()) > PAYLOAD_LIMIT_BYTES:
        raise ValueError(
            f"a notification takes at most {PAYLOAD_LIMIT_BYTES} bytes: send an id, and let the receiver read the row"
        )
    await statements.execute(_NOTIFY, payload=payload)


_Members = Callable[[], asyncio.Task[set[str]]]


def _members(groups: Groups, group: str, users: set[str]) -> _Members:
    """Asks which subscribers are members of a change's group, once for all who are told of the change.

    It is asked after the change was committed. So nobody hears of a change that came after the end of their membership.
    """
    # In a context of its own, because it asks for others, too.
    return cache(lambda: asyncio.create_task(groups.members(group, users), context=Context()))


class Subscription:
    """The changes that one subscriber is told of, as an asynchronous iterator without an end."""

    def __init__(self, owner: str, groups: Groups | None) -> None:
        self.owner, self.groups = owner, groups
        self._pending: dict[Change, _Members | None] = {}
        self._arrived = asyncio.Event()

    def add(self, change: Change, members: _Members | None = None) -> None:
        """Let the subscriber know. Memory stays bounded, however slow it is."""
        if change is EVERYTHING or len(self._pending) >= PENDING_LIMIT:
            self._pending = {EVERYTHING: None}
        elif EVERYTHING not in self._pending:
            self._pending[change] = members
        self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while True:
            while not self._pending:
                self._arrived.clear()
                await self._arrived.wait()
            change = next(iter(self._pending))
            members = self._pending.pop(change)
            try:
                # One that leaves does not end the task of all.
                if members is None or self.owner in await asyncio.shield(members()):
                    return change
            except AppError:  # the database is away
                return EVERYTHING


class Notifications:
    """The subscriptions of this process, and its one connection that listens.

    Args:
        url: where to listen. It must not lead to a transaction pooler.
        variable: the name of the variable that holds `url`, for the log.
        wait_seconds: how long a subscriber waits for the connection.
    """

    def __init__(self, url: str, *, variable: str, wait_seconds: float) -> None:
        self._target = connection_target(url)
        self._variable = variable
        self._wait_seconds = wait_seconds
        self._subscribers: defaultdict[_Key, set[Subscription]] = defaultdict(set)
        self._listener: asyncio.Task[None] | None = None
        # Whether there is a connection.
        self._ready: asyncio.Future[bool]

    @asynccontextmanager
    async def subscribe(self, topic: str, *, owner: str, groups: Groups | None = None) -> AsyncIterator[Subscription]:
        """Changes that are committed from now on, of rows of this user and of the user's groups.

        Args:
            owner: the user.
            groups: who is in which group. None for the user's own rows only.

        Raises:
            Unavailable: the database is away, or its address leads to a pooler, as the log says.
        """
        subscription = Subscription(owner, groups)
        mine: list[_Key] = [(topic, owner, None)]
        mine += [(topic, None, group) for group in (await groups.of(owner) if groups else ())]
        for key in mine:
            self._subscribers[key].add(subscription)
        if self._listener is None:
            self._ready = asyncio.get_running_loop().create_future()
            # In a context of its own, because it outlives the request that has started it.
            self._listener = asyncio.create_task(self._listen(self._ready), context=Context())
        try:
            ready = self._ready
            await asyncio.wait([ready], timeout=self._wait_seconds)
            if not (ready.done() and ready.result()):
                raise Unavailable
            yield subscription
        finally:
            for key in mine:
                self._subscribers[key].discard(subscription)
                if not self._subscribers[key]:
                    del self._subscribers[key]
            if not self._subscribers and self._listener is not None:
                self._listener.cancel()
                self._listener = None

    async def _listen(self, ready: asyncio.Future[bool]) -> None:
        """Listen until nobody subscribes any more. After a loss, connect again and tell the subscribers."""
        pause_seconds = _SHORTEST_PAUSE_SECONDS
        while True:
            lost = asyncio.Event()
            try:
                connection = await listen(self._target, CHANNEL, self._receive, lost.set, seconds=self._wait_seconds)
            except BehindPooler:
                logger.error(  # noqa: TRY400 - a setting is wrong, not the code
                    "cannot listen for changes: %s leads to a transaction pooler, behind which LISTEN does not work;"
                    " set DATABASE_DIRECT_URL to the address of the database itself",
                    self._variable,
                )
                if not ready.done():
                    ready.set_result(False)
                    self._listener = None
                    return
            except CONNECTION_ERRORS as error:
                logger.warning("cannot listen for changes now: the connection of %s fails: %s", self._variable, error)
            else:
                logger.info("listening for changes on a direct connection of %s", self._variable)
                if ready.done():
                    self._tell_all()
                else:
                    ready.set_result(True)
                pause_seconds = _SHORTEST_PAUSE_SECONDS
                try:
                    await lost.wait()
                finally:
                    connection.terminate()
                logger.warning("cannot listen for changes now: the connection of %s is lost", self._variable)
            await asyncio.sleep(uniform(pause_seconds / 2, pause_seconds))  # noqa: S311 - no secret
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _receive(self, payload: str) -> None:
        try:
            topic, owner, group, id_ = json.loads(payload)
            subscribers = [*self._subscribers.get((topic, owner, group), ())]
        except (ValueError, TypeError, RecursionError):
            logger.warning("ignored a notification on the channel %s that is not of this service", CHANNEL)
            return
        change = Change(str(id_), group)
        for groups in {each.groups for each in subscribers}:
            told = [each for each in subscribers if each.groups == groups]
            members = _members(groups, group, {each.owner for each in told}) if groups and group is not None else None
            for subscriber in told:
                subscriber.add(change, members)

    def _tell_all(self) -> None:
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.add(EVERYTHING)
