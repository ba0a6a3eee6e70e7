"""The floor, the reference of the ratios: bare ASGI, asyncpg and orjson, without framework, validation, ORM or errors.

It is the smallest honest way to serve the four operations from the service's own table. It does nothing else for a
request: it has no request id, no log, no headers and no limits.
"""

import os
import uuid
from typing import Any

import asyncpg
import orjson

_COLUMNS = "id, user_id, title, description, completed, created_at, updated_at"
_GET = f"SELECT {_COLUMNS} FROM tasks WHERE user_id = $1 AND id = $2"
_LIST = f"SELECT {_COLUMNS} FROM tasks WHERE user_id = $1 ORDER BY id DESC LIMIT 1000"
_CREATE = f"INSERT INTO tasks (id, user_id, title, description) VALUES ($1, $2, $3, $4) RETURNING {_COLUMNS}"
_TOGGLE = (
    "UPDATE tasks SET completed = NOT completed, updated_at = now() WHERE user_id = $1 AND id = $2"
    f" RETURNING {_COLUMNS}"
)
_JSON = (b"content-type", b"application/json")
_LONGEST_TITLE = 200
# How many segments /api/{user_id}/tasks and /api/{user_id}/tasks/{task_id} have, the empty first one included. The path
# of a toggle has one more.
_OF_ALL, _OF_ONE = 4, 5

_pool: Any = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    segments = scope["path"].split("/")
    user_id = segments[2]
    status = 200
    if len(segments) == _OF_ONE:
        row = await _pool.fetchrow(_GET, user_id, uuid.UUID(segments[4]))
    elif len(segments) > _OF_ONE:
        row = await _pool.fetchrow(_TOGGLE, user_id, uuid.UUID(segments[4]))
    elif scope["method"] == "GET":
        rows = await _pool.fetch(_LIST, user_id)
        await _answer(send, 200, [dict(row) for row in rows])
        return
    else:
        task = orjson.loads((await receive())["body"])
        title = task["title"].strip()
        if not 0 < len(title) <= _LONGEST_TITLE:
            await _answer(send, 400, {"title": "Bad Request"})
            return
        row = await _pool.fetchrow(_CREATE, uuid.uuid4(), user_id, title, task.get("description"))
        status = 201
    if row is None:
        await _answer(send, 404, {"title": "Not Found"})
    else:
        await _answer(send, status, dict(row))


async def _answer(send: Any, status: int, value: object) -> None:
    body = orjson.dumps(value, default=str)  # asyncpg's UUID is a class of its own
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    global _pool  # noqa: PLW0603 - the process's one pool
    await receive()
    size = int(os.environ["DATABASE_POOL_SIZE"])
    _pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=size, max_size=size, reset=_no_reset)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await _pool.close()
    await send({"type": "lifespan.shutdown.complete"})


async def _no_reset(connection: Any) -> None:
    """Replaces asyncpg's reset of a connection that is given back, which is a second round trip for every request."""
