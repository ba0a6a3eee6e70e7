"""Safe retries: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) on requests that create something.

The key and the response are stored in the transaction that creates the resource, so either all three exist or none. An
attempt that failed has not used its key, and a restart forgets no key. Two users may use the same key.

This module differs from the draft in three ways:

- A key may be sent without quotation marks, as most clients do: `abc` and `"abc"` are the same key.
- When two requests with one key come at once, the second waits for the first and gets the same response. It waits at
  most as long as a statement may take. The draft refuses it with 409.
- A key that was used for another request is refused with 409. The draft says 422, which this API does not use.
"""

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, NamedTuple, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel
from starlette.types import Scope

from groundwork.data.database import Database, Executor
from groundwork.data.idempotency_records import CLAIM, GET, KEEP, MAX_LENGTH, Kept
from groundwork.errors import Conflict, Invalid
from groundwork.http.paths import normal_uri, raw_path
from groundwork.http.problems import problem_responses

Created = TypeVar("Created", bound=BaseModel)

HEADER = "Idempotency-Key"
_NOT_A_KEY = (
    f"Send one key of 1 to {MAX_LENGTH} visible ASCII characters, such as 8e03978e-40d5-43e8-bc93-6894a57f9324;"
    " a key in quotation marks may also hold blanks, commas and semicolons"
)

# Either a string of RFC 9651 (3.3.3) without escapes, or the same characters without quotation marks. The second form
# allows no blank, comma or semicolon, because those separate values.
_PATTERN = rf'"[ !#-\[\]-~]{{1,{MAX_LENGTH}}}"|[!#-+\--:<-\[\]-~]{{1,{MAX_LENGTH}}}'
_is_key = re.compile(_PATTERN.encode("ascii")).fullmatch


class Key(NamedTuple):
    """A request's `Idempotency-Key`."""

    value: str
    """Without quotation marks."""
    fingerprint: bytes
    """SHA-256 of the request's method, path, query and body. A retry has the same one."""


class _Answer(BaseModel):
    status: int
    headers: dict[str, str]
    body: str


async def get_key(request: Request) -> Key | None:
    """The request's `Idempotency-Key`; None if there is none.

    Raises:
        Invalid: the header is not a valid key, or the request has two such headers.
    """
    given = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not given:
        return None
    key = given[0].strip(b" \t")
    if len(given) > 1 or not _is_key(key):
        raise Invalid.at("header", HEADER, msg=_NOT_A_KEY, type="idempotency_key")
    line = f"{request.method} ".encode() + _target(request.scope) + b"\n"
    return Key(key.strip(b'"').decode("ascii"), sha256(line + await request.body()).digest())


def _target(scope: Scope) -> bytes:
    """The path without the root path, and the query, because a parameter can change what is created."""
    path = normal_uri(raw_path(scope)).removeprefix(scope.get("root_path", "").encode())
    query = normal_uri(scope.get("query_string", b""))
    return path + b"?" + query if query else path


IdempotencyKey = Annotated[Key | None, Depends(get_key)]


def run_idempotent(
    key: Key | None,
    create: Callable[[Executor], Awaitable[Created]],
    database: Database,
    user_id: str,
    response: Response,
) -> Awaitable[Created | Response]:
    """Create something once for each key.

    Args:
        key: the request's key. Without a key, `create` runs every time.
        create: creates the resource with the statements of the given executor.
        database: runs `create` in a transaction if there is a key.
        user_id: the user whose key it is.
        response: the route's response. Its headers are stored with the body.

    Returns:
        Without a key, what `create` returns. With a key, the response of the first attempt.

    Raises:
        Conflict: the key was used for another request.
    """
    return _run_once(key, create, database, user_id, response) if key else create(database)


async def _run_once(
    key: Key,
    create: Callable[[Executor], Awaitable[BaseModel]],
    database: Database,
    user_id: str,
    response: Response,
) -> Response:
    async def claim(statements: Executor) -> _Answer | Kept:
        if not await statements.execute(CLAIM, owner=user_id, key=key.value, fingerprint=key.fingerprint):
            # The key exists. ON CONFLICT locks the row even where its WHERE is false.
            [kept] = await statements.all(GET, owner=user_id, key=key.value)
            return kept
        created = await create(statements)
        # A repeated transaction adds the headers again. In a dictionary, each is stored once.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.raw_headers}
        answer = _Answer(status=HTTPStatus.CREATED, headers=headers, body=created.model_dump_json(by_alias=True))
        await statements.execute(KEEP, owner=user_id, key=key.value, answer=answer.model_dump_json())
        return answer

    found = await database.run_in_transaction(claim)
    if isinstance(found, _Answer):
        return _response(found)
    if found.fingerprint != key.fingerprint:
        raise Conflict("This Idempotency-Key was used for another request; make a new key for each.")
    return _response(_Answer.model_validate_json(found.answer))


def _response(answer: _Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, media_type="application/json")


CONFLICT = problem_responses(Conflict)
"""OpenAPI `responses` of a route that takes an `IdempotencyKey`."""
_DESCRIPTION = (
    "Makes a retry safe: within 24 hours, the same key and body get the first answer again. With or without quotation"
    " marks, it is the same key."
)
_SCHEMA = {"type": "string", "pattern": f"^({_PATTERN})$", "maxLength": MAX_LENGTH + 2, "description": _DESCRIPTION}
RETRIES = {"parameters": [{"name": HEADER, "in": "header", "description": _DESCRIPTION, "schema": _SCHEMA}]}
"""`openapi_extra` of a route that takes an `IdempotencyKey`."""
