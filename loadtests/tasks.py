"""What a simulated user does, and which answers it expects."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

from locust import FastHttpUser, task

from loadtests.scenarios import SCENARIOS

FIRST_TASKS = 12
MOST_TASKS = 40
PAGE = 5

Task = dict[str, Any]
_everyone: "list[TaskUser]" = []


class Wrong(Exception):
    """An answer that no client should see. It counts as a failed request."""


class TaskUser(FastHttpUser):
    """A client with tasks of its own, on a connection of its own.

    Nobody else may see or change its tasks, so it knows what each answer must be and compares. A task of another user,
    a lost change, or a page that lacks a row is a failure, as a timeout is.
    """

    network_timeout = connection_timeout = 30.0

    def on_start(self) -> None:
        scenario = SCENARIOS[self.environment.parsed_options.scenario]
        self.operations, self.shares = list(scenario.mix), list(scenario.mix.values())
        self.pause = scenario.pause
        self.user_id = f"load-{uuid4().hex}"
        self.path = f"/api/{self.user_id}/tasks"
        self.mine: dict[str, Task] = {}
        self.page_end: tuple[str, Callable[[Task], bool]] | None = None
        self.is_lost = False
        _everyone.append(self)
        for _ in range(FIRST_TASKS):
            self.create()

    def on_stop(self) -> None:
        """Leave nothing behind. These requests are sent after the measurement and not counted."""
        _everyone.remove(self)
        if self.environment.parsed_options.clear_up:
            for id_ in self.mine:
                self.client.delete(f"{self.path}/{id_}", catch_response=True)

    def wait_time(self) -> float:
        return random.uniform(*self.pause)

    @task
    def act(self) -> None:
        (operation,) = random.choices(self.operations, self.shares)
        if self.is_lost:
            self.look_again()
        elif operation == "delete" and len(self.mine) <= PAGE:
            self.create()
        elif operation == "create" and len(self.mine) >= MOST_TASKS:
            self.delete()
        elif self.mine or operation == "create":
            ACTIONS[operation](self)
        else:
            self.create()

    def first_page(self) -> None:
        completed = random.choice((None, None, None, False, True))
        query = "" if completed is None else f"&completed={str(completed).lower()}"
        self.read_page("list", f"{self.path}?limit={PAGE}{query}", lambda task: completed in (None, task["completed"]))

    def next_page(self) -> None:
        if self.page_end is None:
            self.first_page()
            return
        link, is_wanted = self.page_end
        self.read_page("next page", link, is_wanted)

    def read_page(self, operation: str, path: str, is_wanted: Callable[[Task], bool]) -> None:
        self.page_end = None

        def check(response: Any) -> None:
            tasks = body_of(response, 200)
            require(tasks == wanted[:PAGE], "not the tasks that this user has, newest first")
            link = response.headers.get("Link", "")
            require(bool(link) == (len(wanted) > PAGE), "a Link where none belongs, or none")
            if link:
                last = tasks[-1]["id"]
                target = urljoin(path, link.partition("<")[2].partition(">")[0])
                self.page_end = target, lambda task: is_wanted(task) and task["id"] < last

        wanted = [task for task in self.newest_first() if is_wanted(task)]
        self.send(operation, "GET", path, check)

    def newest_first(self) -> list[Task]:
        return [self.mine[id_] for id_ in sorted(self.mine, reverse=True)]

    def get(self) -> None:
        old = self.any_task()
        self.send("get", "GET", f"{self.path}/{old['id']}", lambda response: self.keep(body_of(response, 200), old))

    def create(self) -> None:
        body = {"title": f"Task {random.randrange(10**9)}", "description": random.choice((None, "Two litres " * 9))}

        def check(response: Any) -> None:
            new = body_of(response, 201)
            require(new["id"] not in self.mine, "an id that was used before")
            require(response.headers.get("Location", "").endswith(f"{self.path}/{new['id']}"), "no Location")
            expected = {**new, **body, "user_id": self.user_id, "completed": False}
            self.keep(new, expected)

        self.send("create", "POST", self.path, check, body)

    def update(self) -> None:
        old, body = self.any_task(), {"title": f"Changed {random.randrange(10**9)}"}
        self.change("update", "PUT", f"{self.path}/{old['id']}", {**old, **body}, body)

    def toggle(self) -> None:
        old = self.any_task()
        self.change("toggle", "PATCH", f"{self.path}/{old['id']}/complete", {**old, "completed": not old["completed"]})

    def change(self, operation: str, method: str, path: str, changed: Task, body: Task | None = None) -> None:
        def check(response: Any) -> None:
            new = body_of(response, 200)
            require(new["updated_at"] != changed["updated_at"], "updated_at did not move")
            self.keep(new, {**changed, "updated_at": new["updated_at"]})

        self.send(operation, method, path, check, body)

    def delete(self) -> None:
        id_ = self.any_task()["id"]

        def check(response: Any) -> None:
            body_of(response, 200)
            del self.mine[id_]

        self.send("delete", "DELETE", f"{self.path}/{id_}", check)

    def other_users_task(self) -> None:
        """Try one of the four ways to reach another user's task. If that changed the task, its owner will notice."""
        other = random.choice(_everyone)
        if other is self or not other.mine:
            self.get()
            return
        id_ = random.choice(list(other.mine))
        method, end = random.choice((("GET", ""), ("PUT", ""), ("PATCH", "/complete"), ("DELETE", "")))
        body = {"title": "Mine now"} if method == "PUT" else None
        self.send("other's", method, f"{self.path}/{id_}{end}", lambda response: body_of(response, 404), body)

    def look_again(self) -> None:
        """Read everything again. After a failure, this user does not know whether its change was made."""

        def check(response: Any) -> None:
            tasks = body_of(response, 200)
            require(all(task["user_id"] == self.user_id for task in tasks), "another user's task")
            self.mine = {task["id"]: task for task in tasks}
            self.is_lost = False

        self.send("list", "GET", self.path, check)

    def any_task(self) -> Task:
        return random.choice(list(self.mine.values()))

    def keep(self, task: Task, expected: Task) -> None:
        require(task["user_id"] == self.user_id, "another user's task")
        wrong = [name for name in expected if task.get(name) != expected[name]]
        require(not wrong, f"not the task that this user left: {', '.join(wrong)}")
        self.mine[task["id"]] = task

    def send(
        self, operation: str, method: str, path: str, check: Callable[[Any], object], body: Task | None = None
    ) -> None:
        with self.client.request(method, path, name=operation, json=body, catch_response=True) as response:
            # Locust counts by method and name. Without the method, each operation is one line.
            response.request_meta["request_type"] = ""
            try:
                check(response)
            except (Wrong, LookupError, TypeError, ValueError) as error:
                self.is_lost = True
                response.failure(f"{operation}: {error if isinstance(error, Wrong) else repr(error)}")
            else:
                response.success()


def require(condition: object, complaint: str) -> None:
    if not condition:
        raise Wrong(complaint)


def body_of(response: Any, status: int) -> Any:
    """The body of an answer that must have this status."""
    if response.status_code != status:
        raise Wrong(f"{response.status_code or response.error!r} instead of {status}")
    return json.loads(response.content)


ACTIONS: Mapping[str, Callable[[TaskUser], None]] = {
    "list": TaskUser.first_page,
    "next page": TaskUser.next_page,
    "get": TaskUser.get,
    "other's": TaskUser.other_users_task,
    "create": TaskUser.create,
    "update": TaskUser.update,
    "toggle": TaskUser.toggle,
    "delete": TaskUser.delete,
}
