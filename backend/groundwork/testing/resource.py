"""The entries of the tables in `tests/resources.py`. One `Resource` is enough to test every promise."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import asyncpg
import httpx

from groundwork.testing.rows import PARENT, Rows, group_of
from groundwork.testing.unique import Values, keys_of

Case = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]
"""Sends an operation's request with a client to a path."""

PROMISES = {
    "ownership": "what belongs to another user looks as if it had never existed",
    "statements": "an operation is one statement, which names the owner and finds its rows by an index",
    "members": "what is written is read again, and an update changes the given members only",
    "paging": "a list comes in pages, the newest first, each row once",
    "conditional requests": "each representation has an ETag, and If-Match and If-None-Match have their effect",
    "idempotency": "a retry with its Idempotency-Key creates no second one; an operation that takes no key refuses it",
    "unique values": "a value that is taken is answered with 409, and each user has values of their own",
    "bad input": "what is wrong with a request is answered as a problem that names the place, and nothing is written",
    "document": "the OpenAPI document says what the operation does, with examples that work",
}
"""What every operation of every resource promises, by the name that `Differs` takes."""


@dataclass(frozen=True)
class Differs:
    """Takes an operation out of promises.

    Args:
        reason: why it differs, in a sentence. The report of the tests shows it.
        from_: names in `PROMISES`, by default all. An operation that is out of all promises needs no case, and the
            service need not have it.
    """

    reason: str
    from_: Sequence[str] = tuple(PROMISES)

    @property
    def from_all(self) -> bool:
        return set(self.from_) >= set(PROMISES)


class Operation(NamedTuple):
    """An operation of a resource, and the function that sends it to the path of one row, or of the user's list."""

    name: str
    resource: "Resource"
    send: Case
    is_on_one: bool


@dataclass(frozen=True)
class Resource:
    """A resource with the five usual operations: list, create, get, update, delete. It belongs to users or to groups.

    Args:
        name: in the singular, as in the names of its operations: `order_line` has `create_order_line`.
        text: a required member that is a text without white space at its ends (`TrimmedText`), if there is one.
        required: its other required members, each with a JSON value.
        optional: its optional members, each with a value that is not the default.
        references: further optional members, which hold ids of other resources.
        parents: further required members, each with the resource whose id it holds.
        computed: further members of the answers, which no client writes, each with a value for the tests' rows.
        unique: for members that the table holds once, and that a number at their end would make invalid: functions that
            make the n-th value, as `{"code": lambda n: f"{n:06}"}`. All others vary by themselves.
        filter: the optional member that has a query parameter of its name, which filters the list.
        sorts: the members by which the list may be sorted, each with at least two values in ascending order. A None at
            the beginning or the end says that rows without a value come first or last. Texts must begin with different
            letters of the same case, because the order of other texts depends on the database's collation.
        more: further operations on one row, by name. Each is a function that sends the request to the row's path.
        more_on_all: the same for operations on all of a user's rows. The path is that of the list.
        irregular_plural: the plural in its path and its table's name, if that is not the name with an s.
        membership: if each one is a group of users: the columns of a membership that may do all operations, such as
            its role.
        within: the groups, if groups own the rows. Their path stands before the resource's own.
    """

    name: str
    text: str | None = None
    required: Mapping[str, Any] = field(default_factory=dict)
    optional: Mapping[str, Any] = field(default_factory=dict)
    references: Sequence[str] = ()
    parents: Mapping[str, "Resource"] = field(default_factory=dict)
    computed: Mapping[str, Any] = field(default_factory=dict)
    unique: Values = field(default_factory=dict)
    filter: str | None = None
    sorts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    more: Mapping[str, Case] = field(default_factory=dict)
    more_on_all: Mapping[str, Case] = field(default_factory=dict)
    irregular_plural: str = ""
    membership: Mapping[str, Any] = field(default_factory=dict)
    within: "Resource | None" = None

    @property
    def plural(self) -> str:
        """The plural in its path and its table's name."""
        return self.irregular_plural or f"{self.name}s"

    @property
    def schema(self) -> str:
        """The beginning of the names of its schemas."""
        return "".join(part.title() for part in self.name.split("_"))

    @property
    def members(self) -> list[str]:
        """The members that a client writes."""
        text = [self.text] if self.text else []
        return [*text, *self.required, *self.optional, *self.references, *self.parents]

    def of(self, user_id: str, member: str | None = None) -> str:
        """The path of the user's list.

        Args:
            user_id: the user in the path.
            member: whose group is in the path, if groups own the rows; by default the same user's.
        """
        above = self.group(user_id, member) if self.within else f"/api/{quote(user_id, safe='')}"
        return f"{above}/{self.plural}"

    def group(self, user_id: str, member: str | None = None) -> str:
        """The path of the group in which the tests put the rows of a user.

        Args:
            user_id: the user in the path.
            member: whose group it is; by default the same user's.
        """
        groups = self.within or self
        return f"{groups.of(user_id)}/{group_of(member or user_id)}"

    def body(self, **members: Any) -> dict[str, Any]:
        """The body that creates one, with the required members and the given ones."""
        text = {self.text: "New"} if self.text else {}
        return {**text, **self.required, **dict.fromkeys(self.parents, PARENT), **members}

    def new_body(self, **members: Any) -> dict[str, Any]:
        """The body that creates one more: what must be unique has a value that no other row has."""
        return {**self._varied(self.body()), **members}

    def whole_body(self) -> dict[str, Any]:
        """The same with all optional members."""
        return self._varied(self.body(**self.optional))

    def _varied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in self.stored.vary(body).items() if name in self.members}

    @property
    def unique_keys(self) -> list[list[str]]:
        """The members of each key of its table that a client writes."""
        found = keys_of(self.stored.described)
        more = [[name] for name in self.unique if not any(name in key for key in found)]
        keys = [[name for name in key if name in self.members] for key in (*found, *more)]
        return [key for key in keys if key]

    def change(self) -> dict[str, Any]:
        """The body of an update that changes one member."""
        if self.text:
            return {self.text: "Changed"}
        return dict([next(iter({**self.optional, **self.required, **dict.fromkeys(self.parents, PARENT)}.items()))])

    def operations(self, **claim: Any) -> list[Operation]:
        """All operations that have a case. The bodies of the five usual operations also contain `claim`."""
        on_one: dict[str, Case] = {
            f"get_{self.name}": lambda client, one: client.get(one),
            f"update_{self.name}": lambda client, one: client.put(one, json={**self.change(), **claim}),
            f"delete_{self.name}": lambda client, one: client.delete(one),
            **self.more,
        }
        on_all: dict[str, Case] = {
            f"list_{self.plural}": lambda client, own: client.get(own),
            f"create_{self.name}": lambda client, own: client.post(own, json=self.body(**claim)),
            **self.more_on_all,
        }
        return [
            *(Operation(name, self, send, is_on_one=False) for name, send in on_all.items()),
            *(Operation(name, self, send, is_on_one=True) for name, send in on_one.items()),
        ]

    async def create(self, client: httpx.AsyncClient, user_id: str = "alice", /, **members: Any) -> Any:
        """Create a row through the service; returns the answer's body."""
        response = await client.post(self.of(user_id), json=self.new_body(**members))
        assert response.status_code == 201, response.text
        return response.json()

    async def insert(
        self, connection: asyncpg.Connection, user_id: str = "alice", /, *, id: UUID | None = None, **members: Any
    ) -> str:
        """Insert a row for the user, or for the user's group, without the service; returns its id."""
        return await self.stored.insert(connection, user_id, members, id)

    async def insert_group(self, connection: asyncpg.Connection, user_id: str = "alice", /) -> None:
        """Insert the user's group, with the user as a member, unless the group exists."""
        await self.stored.insert_group(connection, user_id)

    async def prepare(self, connection: asyncpg.Connection, user_id: str = "alice", /) -> None:
        """Insert what the user's rows need, unless it is there: their group, and the rows of `parents`."""
        await self.stored.prepare(connection, user_id)

    async def insert_many(self, connection: asyncpg.Connection, count: int) -> None:
        """Insert `count` rows of ten users, and update the database's statistics."""
        await self.stored.insert_many(connection, count)

    async def rows(self, connection: asyncpg.Connection, user_id: str = "alice") -> Any:
        """All rows of the user, or of the user's group, in the order of their ids."""
        return await self.stored.of(connection, user_id)

    @property
    def stored(self) -> Rows:
        """Its rows in the database."""
        groups = self.within.stored if self.within else None
        parents = [parent.stored for parent in self.parents.values()]
        sample = self.body(**self.computed)
        return Rows(self.plural, sample, self.membership, groups, parents, self.unique, self.optional)
