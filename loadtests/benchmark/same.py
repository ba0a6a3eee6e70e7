"""Checks that the compared services give the same answers: the same status, and the same members of the JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from loadtests.benchmark.load import OPERATIONS
from loadtests.benchmark.servers import Service, ask

# The members that differ between services: a new task's id, and the time of a change.
_OWN = {"create": {"id", "created_at", "updated_at"}, "toggle": {"updated_at"}}

Said = tuple[int, Any]
"""An answer's status and body."""


def require_same_answers(services: Mapping[str, Service], requests: Mapping[str, Sequence[bytes]]) -> None:
    """
    Raises:
        RuntimeError: one of the services answers an operation otherwise than the first one does.
    """
    for operation in OPERATIONS:
        request = requests[operation][0]
        (first, expected), *others = ((name, _said(each, request, operation)) for name, each in services.items())
        for name, said in others:
            if said != expected:
                raise RuntimeError(f"{operation}: {name} answers {said}, and {first} answers {expected}.")


def _said(service: Service, request: bytes, operation: str) -> Said:
    answer, data = ask(service.port, request)
    body = json.loads(data[data.index(b"\r\n\r\n") :])
    own = _OWN.get(operation, set())
    return answer.status, [_task(each, own) for each in body] if isinstance(body, list) else _task(body, own)


def _task(task: dict[str, Any], own: set[str]) -> dict[str, Any]:
    """The task's members in a form that can be compared: times as moments, and members in `own` as their types."""
    values = {name: _moment(value) if name.endswith("_at") else value for name, value in task.items()}
    return {name: type(value).__name__ if name in own else value for name, value in values.items()}


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)
