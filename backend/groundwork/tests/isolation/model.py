"""A model in memory of what SPEC.md promises about tasks. The service must agree with it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from groundwork.text import WHITE_SPACE

Task = dict[str, Any]


class User:
    """One user, as the service should know them. Every method sends a request and compares the answer.

    `tasks` holds the tasks, the newest first.
    """

    def __init__(self, client: httpx.Client, id: str) -> None:
        self.id = id
        self.path = f"/api/{quote(id, safe='')}/tasks"
        self.tasks: list[Task] = []
        self._client = client

    def create(self, **members: Any) -> None:
        response = self._client.post(self.path, json=members)
        if not _is_valid(members, required=True):
            assert response.status_code == 400, response.text
            return
        assert response.status_code == 201, response.text
        task = response.json()
        assert response.headers["Location"] == f"{self.path}/{task['id']}"
        assert UUID(task["id"]).version == 7
        assert not self.tasks or task["id"] > self.tasks[0]["id"]
        assert abs(datetime.fromisoformat(task["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
        made = {"id": task["id"], "created_at": task["created_at"], "updated_at": task["created_at"]}
        defaults = {"user_id": self.id, "description": None, "completed": False}
        assert task == defaults | _written(members) | made
        self.tasks.insert(0, task)

    def read(self, id: str) -> None:
        self._compare(self._client.get(f"{self.path}/{id}"), self.find(id))

    def update(self, id: str, **members: Any) -> None:
        response = self._client.put(f"{self.path}/{id}", json=members)
        if not _is_valid(members, required=False):
            assert response.status_code == 400, response.text
            return
        self._changed(response, self.find(id), _written(members))

    def toggle(self, id: str) -> None:
        task = self.find(id)
        self._changed(
            self._client.patch(f"{self.path}/{id}/complete"), task, {"completed": task and not task["completed"]}
        )

    def delete(self, id: str) -> None:
        response = self._client.delete(f"{self.path}/{id}")
        task = self.find(id)
        self._compare(response, task and {"message": "Task deleted successfully"})
        if task:
            self.tasks.remove(task)

    def list(self, *, limit: int, completed: bool | None = None) -> None:
        """Read all pages of the list, one after the other, and compare them."""
        query = {"limit": limit} | ({} if completed is None else {"completed": completed})
        expected = [task for task in self.tasks if completed in (None, task["completed"])]
        response = self._client.get(self.path, params=query)
        while True:
            assert response.status_code == 200, response.text
            assert response.json() == expected[:limit]
            expected = expected[limit:]
            if not expected:
                assert "Link" not in response.headers
                return
            response = self._client.get(response.links["next"]["url"])

    def find(self, id: str) -> Task | None:
        return next((task for task in self.tasks if task["id"] == id), None)

    def _changed(self, response: httpx.Response, task: Task | None, changes: Task) -> None:
        """Check that the answer is the task with these changes, and that the time of the last change moved forward."""
        if task and changes and response.status_code == 200:
            before, task["updated_at"] = task["updated_at"], response.json()["updated_at"]
            assert datetime.fromisoformat(task["updated_at"]) > datetime.fromisoformat(before)
            task.update(changes)
        self._compare(response, task)

    def _compare(self, response: httpx.Response, expected: Task | None) -> None:
        """Check that the answer is `expected`. If it is None, the answer must be the 404 for foreign tasks."""
        if expected is None:
            assert response.status_code == 404, response.text
            assert response.json() == {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "Task not found.",
            }
        else:
            assert response.status_code == 200, response.text
            assert response.json() == expected


def _written(members: Task) -> Task:
    """What the service stores of a body: the known members, and the title without white space at its ends."""
    known = {name: members[name] for name in ("title", "description", "completed") if name in members}
    return known | ({"title": known["title"].strip(WHITE_SPACE)} if "title" in known else {})


def _is_valid(members: Task, *, required: bool) -> bool:
    title, description = members.get("title", "" if required else "x"), members.get("description")
    return (
        isinstance(title, str)
        and 1 <= len(title.strip(WHITE_SPACE)) <= 200
        and (description is None or len(description) <= 1000)
        and "\0" not in title + (description or "")
        and isinstance(members.get("completed", False), bool)
    )
