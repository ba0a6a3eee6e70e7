"""Sends load to a running service, and makes the requests of the four operations."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict

from loadtests.benchmark import cores
from loadtests.benchmark.client import Load, Outcome
from loadtests.benchmark.database import SMALL_ROWS, Database, Key
from loadtests.benchmark.servers import Service
from loadtests.benchmark.wire import request

OPERATIONS = ("get", "list of 20", "create", "toggle")
_NEW = {"title": "Write the quarterly report", "description": "lorem ipsum dolor sit amet, consectetur adipiscing elit"}
_SEVERAL = 5000
_GRACE_SECONDS = 60


def get(key: Key, headers: str = "") -> bytes:
    return request("GET", f"/api/{key.user_id}/tasks/{key.task_id}", headers=headers)


def page(user_id: str, query: str) -> bytes:
    return request("GET", f"/api/{user_id}/tasks{query}")


def toggle(key: Key, headers: str = "") -> bytes:
    return request("PATCH", f"/api/{key.user_id}/tasks/{key.task_id}/complete", headers=headers)


def create(headers: str = "") -> bytes:
    return request("POST", "/api/writer/tasks", json.dumps(_NEW).encode(), headers)


def requests_of_each_operation(database: Database) -> dict[str, list[bytes]]:
    """Requests for a table of SMALL_ROWS rows. Reads and toggles use many tasks, so that they do not queue for one."""
    keys = database.some_tasks(_SEVERAL, SMALL_ROWS)
    return {
        "get": [get(key) for key in keys],
        "list of 20": [page("bench", "")],
        "create": [create()],
        "toggle": [toggle(key) for key in keys],
    }


def send(
    service: Service,
    requests: Iterable[bytes],
    *,
    connections: int,
    seconds: float,
    warm_up_seconds: float,
    fill: bool = False,
    think_seconds: float = 0,
    database_pid: int = 0,
) -> Outcome:
    """Send load from a process of its own. It stays on one core if the service has one core, else it may use all."""
    load = Load(
        port=service.port,
        requests=[each.decode("latin-1") for each in requests],
        connections=connections,
        seconds=seconds,
        warm_up_seconds=warm_up_seconds,
        server_pid=service.pid,
        fill=fill,
        think_seconds=think_seconds,
        database_pid=database_pid,
    )
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.benchmark.client"],
        input=json.dumps(asdict(load)),
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + warm_up_seconds + _GRACE_SECONDS,
        check=True,
        preexec_fn=cores.child_on(cores.CLIENT if service.cores == cores.SERVER else cores.ALL),
    )
    return Outcome(**json.loads(done.stdout))
