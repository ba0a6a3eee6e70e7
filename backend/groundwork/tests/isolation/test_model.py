"""Several users act in random order. After every step, the service must agree with a model of what it promises.

The number of steps is small here. `make test-attack` runs many more.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from groundwork.tests.isolation.model import User
from groundwork.tests.process import server

STEPS = 1000
STEPS_OF_A_RUN = 50
CLIENTS = 8
# Each name resembles another one, or a part of a path.
NAMES = ["a", "A", "a ", "a/b", "a%2Fb", "á", "a\u0301", "'; --", "."]
UNKNOWN_ID = "01990000-0000-7000-8000-000000000000"

_text = st.text(st.characters(exclude_categories=["Cs"]))
_titles = st.one_of(
    _text, st.text(min_size=1, max_size=5), st.sampled_from([" x ", "\u3000", "x" * 200, "x" * 201, "\0"])
)
_descriptions = st.one_of(st.none(), _text, st.sampled_from(["x" * 1000, "x" * 1001]))
_optional = {"description": _descriptions, "completed": st.booleans(), "user_id": st.sampled_from(NAMES)}
_bodies = st.fixed_dictionaries({"title": _titles}, optional=_optional)
_changes = st.fixed_dictionaries({}, optional={"title": st.one_of(_titles, st.none()), **_optional})
_places = st.integers(0, 7)


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    with server.running(tmp_path_factory.mktemp("model"), DATABASE_URL=module_database) as service:
        yield service
    assert [event for event in service.events() if event["level"] != "info"] == []


class Tasks(RuleBasedStateMachine):
    """Users who read and write their own tasks, and try to read and write those of others."""

    steps = 0

    def __init__(self, client: httpx.Client) -> None:
        super().__init__()
        self._client = client
        self._users: list[User] = []

    @initialize(names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    def meet(self, names: list[str]) -> None:
        run = uuid4().hex
        self._users = [User(self._client, name + run) for name in names]

    @rule(who=_places, body=_bodies)
    def create(self, who: int, body: Any) -> None:
        self._user(who).create(**body)

    @rule(who=_places, whose=_places, which=_places)
    def read(self, who: int, whose: int, which: int) -> None:
        self._user(who).read(self._id(whose, which))

    @rule(who=_places, whose=_places, which=_places, changes=_changes)
    def update(self, who: int, whose: int, which: int, changes: Any) -> None:
        self._user(who).update(self._id(whose, which), **changes)

    @rule(who=_places, whose=_places, which=_places)
    def toggle(self, who: int, whose: int, which: int) -> None:
        self._user(who).toggle(self._id(whose, which))

    @rule(who=_places, whose=_places, which=_places)
    def delete(self, who: int, whose: int, which: int) -> None:
        self._user(who).delete(self._id(whose, which))

    @rule(who=_places, limit=st.integers(1, 5), completed=st.sampled_from([None, True, False]))
    def list(self, who: int, limit: int, completed: bool | None) -> None:
        self._user(who).list(limit=limit, completed=completed)

    def teardown(self) -> None:
        for user in self._users:
            user.list(limit=1000)

    def _user(self, place: int) -> User:
        type(self).steps += 1
        return self._users[place % len(self._users)]

    def _id(self, whose: int, which: int) -> str:
        """The id of somebody's task, or an id that no task has."""
        tasks = self._users[whose % len(self._users)].tasks
        return tasks[which % len(tasks)]["id"] if tasks and which else UNKNOWN_ID


def test_any_interleaving_agrees_with_the_model(service: server.Server) -> None:
    assert run_state_machine(service, STEPS) >= STEPS / 2


def test_clients_at_once_agree_with_their_models(service: server.Server) -> None:
    run_clients(service, STEPS)


def run_state_machine(service: server.Server, steps: int) -> int:
    """Let hypothesis choose about `steps` steps. Returns how many it has chosen."""
    profile = settings(
        max_examples=max(1, steps // STEPS_OF_A_RUN),
        stateful_step_count=STEPS_OF_A_RUN,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] - its metaclass has no types
    )
    Tasks.steps = 0
    with httpx.Client(base_url=service.url) as client:
        machine: Any = lambda: Tasks(client)  # noqa: E731 - hypothesis wants a class, or what makes one
        run_state_machine_as_test(machine, settings=profile)
    return Tasks.steps


def run_clients(service: server.Server, steps: int) -> None:
    """Run clients at the same time. Each has a user of its own, and all of them share one more user."""
    with httpx.Client(base_url=service.url) as client:
        shared = User(client, uuid4().hex)
        for _ in range(5):
            shared.create(title="shared")
        mine = [shared.tasks[place]["id"] for place in range(5)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            counts = threads.map(lambda seed: _use(service, shared.id, mine, steps // CLIENTS, seed), range(CLIENTS))
            toggles = sum(counts, Counter[str]())
        for task in shared.tasks:
            current = client.get(f"{shared.path}/{task['id']}").json()
            assert current["completed"] == (toggles[task["id"]] % 2 == 1)
        # If several clients delete one task, exactly one succeeds.
        with ThreadPoolExecutor(CLIENTS) as threads:
            for id in mine:
                deleted = threads.map(lambda _, id=id: client.delete(f"{shared.path}/{id}").status_code, range(CLIENTS))
                assert sorted(deleted) == [200] + [404] * (CLIENTS - 1)
        assert client.get(shared.path).json() == []


def _use(service: server.Server, shared_id: str, shared_tasks: list[str], steps: int, seed: int) -> Counter[str]:
    """Take `steps` random steps as one client. Returns how often it has toggled each shared task."""
    random = Random(seed)
    toggles: Counter[str] = Counter()
    with httpx.Client(base_url=service.url) as client:
        own, shared = User(client, uuid4().hex), User(client, shared_id)
        for step in range(steps):
            _step(own, random, foreign=random.choice(shared_tasks))
            if step % 3 == 0:
                id = random.choice(shared_tasks)
                assert client.patch(f"{shared.path}/{id}/complete").status_code == 200
                toggles[id] += 1
            elif step % 3 == 1:
                added = client.post(shared.path, json={"title": str(seed)}).json()
                _require_whole_list(client, shared, shared_tasks, random.choice([2, 7, 1000]))
                assert client.delete(f"{shared.path}/{added['id']}").status_code == 200
        own.list(limit=10)
    return toggles


def _step(user: User, random: Random, *, foreign: str) -> None:
    id = random.choice([task["id"] for task in user.tasks] or [foreign])
    match random.randrange(8):
        case 0 | 1 | 2:
            user.create(title="own", completed=random.random() < 0.5)
        case 3:
            user.update(random.choice([id, foreign]), title=f"own {random.random()}")
        case 4:
            user.toggle(random.choice([id, foreign]))
        case 5:
            user.delete(random.choice([id, foreign]))
        case 6:
            user.read(random.choice([id, foreign]))
        case 7:
            user.list(limit=random.choice([1, 3, 100]), completed=random.choice([None, True, False]))


def _require_whole_list(client: httpx.Client, shared: User, always: list[str], limit: int) -> None:
    """Check a list while others write. It has only the user's tasks, each once and in order, and all of `always`."""
    seen: list[str] = []
    url: str | None = f"{shared.path}?limit={limit}"
    while url:
        response = client.get(url)
        assert {task["user_id"] for task in response.json()} <= {shared.id}
        seen += [task["id"] for task in response.json()]
        url = response.links.get("next", {}).get("url")
    assert all(newer > older for newer, older in itertools.pairwise(seen))
    assert set(always) <= set(seen)
