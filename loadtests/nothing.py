"""Answers like the service, but from memory and without checks. So a test against it measures the load generator."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

Message = MutableMapping[str, Any]
_JSON = [(b"content-type", b"application/json")]
_tasks: dict[str, bytes] = {}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Creates and gets tasks. It runs under uvicorn with `--lifespan off`."""
    path: str = scope["path"]
    if scope["method"] == "POST":
        id_, user_id = str(uuid4()), path.split("/")[2]
        task = json.loads((await receive())["body"]) | {"id": id_, "user_id": user_id, "completed": False}
        status, headers, body = 201, [*_JSON, (b"location", f"{path}/{id_}".encode())], json.dumps(task).encode()
        _tasks[id_] = body
    else:
        status, headers, body = 200, _JSON, _tasks.get(path.rpartition("/")[2], b"{}")
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
