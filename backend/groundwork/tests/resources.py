"""The resources that belong to users. An entry here brings a new one under every test that holds for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

Case = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


class Resource(NamedTuple):
    """A resource with the five usual operations.

    Args:
        name: in the singular, as in the names of its operations.
        text: its required member, a text without white space at its ends.
        optional: its other members, with values that are not their defaults.
        filter: the boolean among them by which a list is chosen.
        references: members besides, with ids of other resources.
        more: by their names, operations on one beside the usual: what they send, given the path of one.
    """

    name: str
    text: str
    optional: dict[str, Any]
    filter: str
    references: tuple[str, ...] = ()
    more: Mapping[str, Case] = {}

    @property
    def plural(self) -> str:
        """As in its path, and its table's name."""
        return f"{self.name}s"

    @property
    def schema(self) -> str:
        """What the names of its schemas begin with."""
        return self.name.title()

    def of(self, user_id: str) -> str:
        """The path of the user's."""
        return f"/api/{quote(user_id, safe='')}/{self.plural}"

    def on_one(self, **body: Any) -> dict[str, Case]:
        """The operations on one, by their names: what they send, given its path."""
        return {
            f"get_{self.name}": lambda client, one: client.get(one),
            f"update_{self.name}": lambda client, one: client.put(one, json={self.text: "New", **body}),
            f"delete_{self.name}": lambda client, one: client.delete(one),
            **self.more,
        }

    async def create(self, client: httpx.AsyncClient, user_id: str = "alice", /, **members: Any) -> Any:
        """A new one, as the service answers it."""
        response = await client.post(self.of(user_id), json={self.text: "New", **members})
        assert response.status_code == 201, response.text
        return response.json()


TASKS = Resource(
    "task",
    text="title",
    optional={"description": "Two litres", "completed": True},
    filter="completed",
    more={"toggle_task": lambda client, one: client.patch(f"{one}/complete")},
)

RESOURCES = [TASKS]

each_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.plural)
