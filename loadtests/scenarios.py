"""The scenarios: what users send, how often and for how long. Nothing here needs Locust."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadtests.gates import Gate

# The share of each operation in a user's requests, in percent. `other's` asks for a task of another user, which must
# not be found.
NORMAL = {"list": 25, "next page": 10, "get": 29, "other's": 5, "create": 10, "update": 8, "toggle": 7, "delete": 6}
READ = {"list": 34, "next page": 18, "get": 36, "other's": 3, "create": 3, "update": 2, "toggle": 2, "delete": 2}
WRITE = {"list": 10, "next page": 4, "get": 10, "other's": 4, "create": 23, "update": 19, "toggle": 16, "delete": 14}

Shape = Literal["steady", "spike", "ramp"]


@dataclass(frozen=True)
class Scenario:
    about: str
    mix: Mapping[str, int] = field(default_factory=lambda: NORMAL)
    users: int = 100
    """The number of users. For the shape `spike`, it is the peak; for `ramp`, the largest number that is tried."""
    seconds: int = 60
    """The length of the whole test. For the shape `ramp`, it is the length of each step."""
    pause: tuple[float, float] = (0.2, 0.8)
    """Seconds between a user's requests: someone who clicks through a list without reading it. Most are slower, so
    that 100 of these users are as much load as 1,000 or more people with the page open."""
    shape: Shape = "steady"
    gate: Gate = field(default_factory=Gate)


SCENARIOS: Mapping[str, Scenario] = {
    "crud": Scenario("the mission's gate: 100 users, p95 under 500 ms in each operation, no failure"),
    "read-heavy": Scenario("nine in ten requests read", READ, seconds=120),
    "write-heavy": Scenario("three in four requests write", WRITE),
    "spike": Scenario("a tenth of the users, then all at once for the middle third", users=500, shape="spike"),
    "soak": Scenario("half an hour: what grows shows in the plots", seconds=1800),
    "ramp": Scenario(
        "more users until the gate is missed, then the highest load that still meets it",
        users=5000,
        seconds=10,
        shape="ramp",
        gate=Gate(samples=30),
    ),
    "generator": Scenario(
        "the load generator's own limit, against an application that does nothing",
        {"get": 100},
        seconds=20,
        pause=(0, 0),
        gate=Gate(p95_ms=float("inf")),
    ),
}


def users_at(scenario: Scenario, elapsed: float, users: int, seconds: float) -> int | None:
    """How many users a steady test or a spike has after `elapsed` of its `seconds`; None when it is over."""
    if elapsed >= seconds:
        return None
    calm = scenario.shape == "spike" and not seconds / 3 <= elapsed < seconds * 2 / 3
    return max(1, users // 10) if calm else users
