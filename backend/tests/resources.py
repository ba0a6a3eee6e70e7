"""The resources that belong to users. An entry here brings one under everything that all of them promise."""

from groundwork.testing.resource import Differs, Resource

TASK = Resource(
    "task",
    text="title",
    optional={"description": "Two litres", "completed": True},
    filter="completed",
    more={"toggle_task": lambda client, one: client.patch(f"{one}/complete")},
)

RESOURCES: list[Resource] = [
    # All that belong to users.
    TASK,
]

# By operation: why it does not keep a promise that all others keep, as Differs("takes a file, no JSON", from_=[…]).
DIFFERS: dict[str, Differs] = {}
