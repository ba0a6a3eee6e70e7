"""Safe retries: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07) on requests that create something.

The key and the response are stored by the statement, or in the transaction, that creates the resource, so either all
three exist or none. An attempt that failed has not used its key, and a restart forgets no key. Two users may use the
same key.

This module differs from the draft in three ways:

- A key may be sent without quotation marks, as most clients do: `abc` and `"abc"` are the same key.
- When two requests with one key come at once, the second waits for the first and gets the same response. It waits at
  most as long as a statement may take. The draft refuses it with 409.
- A key that was used for another request is refused with 409. The draft says 422, which this API does not use.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, NamedTuple, NoReturn, TypedDict, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from groundwork.data.database import Database, Executor, Isolation
from groundwork.data.idempotency_records import CLAIM, CORRECT, FORGET, GET, KEEP, MAX_LENGTH, Kept
from groundwork.data.keyed_insert import key_arguments, keyed_insert
from groundwork.data.statement import Statement
from groundwork.errors import Conflict, Invalid
from groundwork.http.conditional import created
from groundwork.http.paths import normal_uri, raw_path
from groundwork.http.problems import header_parameter, problem_responses

Created = TypeVar("Created", bound=BaseModel)
Row = TypeVar("Row", bound=BaseModel)

HEADER = "Idempotency-Key"
_JSON = (b"content-type", b"application/json")
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


class _Answer(TypedDict):
    """An answer, as it is stored in JSON."""

    status: int
    headers: dict[str, str]
    body: str


class KeyReused(Conflict):
    """The key was used for another request."""

    detail = "This Idempotency-Key was used for another request; make a new key for each."


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
    scope = request.scope
    # The path without the root path, and the query, because a parameter can change what is created.
    target = normal_uri(raw_path(scope)).removeprefix(scope.get("root_path", "").encode())
    if query := normal_uri(scope.get("query_string", b"")):
        target += b"?" + query
    line = f"{request.method} ".encode() + target + b"\n"
    return Key(key.strip(b'"').decode("ascii"), sha256(line + await request.body()).digest())


IdempotencyKey = Annotated[Key | None, Depends(get_key)]


def create_once(
    key: Key | None,
    create: Callable[[Executor], Awaitable[Created]],
    database: Database,
    user_id: str,
    request: Request,
    response: Response,
    *,
    in_transaction: bool = False,
) -> Awaitable[Created | Response]:
    """Create one row once for each key, and answer with its `ETag` and `Location`.

    With a key, the row and the response are stored by one statement. If the row is not known before it is inserted, as
    with a default of the database, they are stored in a transaction.

    Args:
        key: the request's key. Without a key, `create` runs every time.
        create: inserts the row by one statement, with the given executor, and returns it.
        database: runs `create`.
        user_id: the user who sent the key.
        request, response: the route's.
        in_transaction: whether `create` runs several statements, for example to enqueue a job with the row. They run in
            one transaction.

    Returns:
        Without a key, the row. With a key, the response of the first attempt.

    Raises:
        Conflict: the key was used for another request.
    """
    if key is None:
        run = create if not in_transaction else lambda _: database.run_in_transaction(create)
        return _create(run, database, request, response)
    if in_transaction:
        return _run_once(key, partial(_create, create, request=request, response=response), database, user_id, response)
    return _create_once(_OneInsert(key, database, user_id, request, response), create)


async def _create(
    create: Callable[[Executor], Awaitable[Any]], statements: Executor, request: Request, response: Response
) -> Any:
    return created(request, response, await create(statements))


async def _create_once(once: "_OneInsert", create: Callable[[Executor], Awaitable[Any]]) -> Response:
    try:
        row = await create(once)
    except _NotInserted:
        row = None
    if once.kept:
        return _replay(once.kept, once.key)
    if once.answer is None:
        transaction = partial(_create, create, request=once.request, response=once.response)
        return await _run_once(once.key, transaction, once.database, once.user_id, once.response)
    return _StoredResponse(once.answer if row is once.row else await once.correct(row))


class _NotInserted(BaseException):
    """Ends a `create` whose insert has not run. No handler of `Exception` catches it."""


class _OneInsert(Executor):
    """Runs the insert of a `create`. The same statement stores the key and the answer."""

    def __init__(self, key: Key, database: Database, user_id: str, request: Request, response: Response) -> None:
        self.key, self.database, self.user_id, self.request, self.response = key, database, user_id, request, response
        self.kept: Kept | None = None
        """The record of the first attempt, if this is not the first."""
        self.answer: _Answer | None = None
        """The answer that was stored. None as long as nothing was inserted."""
        self.row: BaseModel | None = None
        """The row of that answer."""

    async def one(self, statement: Statement[Row], **values: Any) -> Row:
        keyed = keyed_insert(statement)
        expected = keyed.predict(values) if keyed and keyed.is_exact else None
        if self.answer or keyed is None or expected is None:
            self._refuse()
        row = statement.row(expected)
        answer = self._answer(row)
        self._stored = _stored(answer)
        arguments = key_arguments(self.key.value, self.key.fingerprint, self._stored)
        found = None
        # It returns nothing if it had to wait for the first attempt. Then the next run sees that attempt's record.
        while found is None:
            found = await self.database.one(keyed, **values, **arguments)
        if isinstance(found, Kept):
            self.kept = found
            raise _NotInserted
        if found != expected and not any(value is not None for value in found.values()):
            # A trigger prevented the insert, so the key is deleted. `create` then runs in a transaction: if the row is
            # missing again, the transaction also rolls back the key.
            keyed.is_exact = False
            await self.database.execute(FORGET, owner=self.user_id, key=self.key.value, answer=self._stored)
            self._refuse()
        self.answer, self.row, self._keyed = answer, row, keyed
        return row if found == expected else statement.row(found)

    async def _run(self, call: Any, statement: Statement[Any], arguments: list[Any]) -> Any:
        self._refuse()

    def _refuse(self) -> NoReturn:
        if self.answer:
            raise TypeError("create_once() runs one statement; for several, pass in_transaction=True")
        raise _NotInserted

    async def correct(self, row: Any) -> _Answer:
        """Store another answer, because the row is not the one that was expected."""
        self._keyed.is_exact = False
        answer = self._answer(row)
        own = {"owner": self.user_id, "key": self.key.value, "answer": self._stored}
        await self.database.execute(CORRECT, **own, corrected=_stored(answer))
        return answer

    def _answer(self, row: Any) -> _Answer:
        return _answer(created(self.request, self.response, row), self.response)


def run_idempotent(
    key: Key | None,
    create: Callable[[Executor], Awaitable[Created]],
    database: Database,
    user_id: str,
    response: Response,
    *,
    isolation: Isolation | None = None,
) -> Awaitable[Created | Response]:
    """Create something by several statements in a transaction, once for each key.

    Args:
        key: the request's key. Without a key, `create` runs every time.
        create: creates the resource with the statements of the given executor. It is called again after a collision.
        database: runs `create` in a transaction.
        user_id: the user who sent the key.
        response: the route's response. Its headers are stored with the body.
        isolation: as in `run_in_transaction`.

    Returns:
        Without a key, what `create` returns. With a key, the response of the first attempt.

    Raises:
        Conflict: the key was used for another request.
    """
    if key is None:
        return database.run_in_transaction(create, isolation=isolation)
    return _run_once(key, create, database, user_id, response, isolation)


async def _run_once(
    key: Key,
    create: Callable[[Executor], Awaitable[BaseModel]],
    database: Database,
    user_id: str,
    response: Response,
    isolation: Isolation | None = None,
) -> Response:
    async def claim(statements: Executor) -> _Answer | Kept:
        if not await statements.execute(CLAIM, owner=user_id, key=key.value, fingerprint=key.fingerprint):
            # The key exists. ON CONFLICT locks the row even where its WHERE is false.
            [kept] = await statements.all(GET, owner=user_id, key=key.value)
            return kept
        answer = _answer(await create(statements), response)
        await statements.execute(KEEP, owner=user_id, key=key.value, answer=_stored(answer))
        return answer

    found = await database.run_in_transaction(claim, isolation=isolation)
    return _StoredResponse(found) if not isinstance(found, Kept) else _replay(found, key)


def _answer(resource: BaseModel, response: Response) -> _Answer:
    # A repeated transaction adds the headers again. In a dictionary, each is stored once.
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.raw_headers}
    return {"status": 201, "headers": headers, "body": resource.model_dump_json(by_alias=True)}


def _stored(answer: _Answer) -> str:
    return to_json(answer).decode()


def _replay(kept: Kept, key: Key) -> Response:
    if kept.fingerprint != key.fingerprint:
        raise KeyReused
    return _StoredResponse(from_json(kept.answer))


class _StoredResponse(Response):
    """A stored answer as a response. It is complete, so Starlette's constructor has nothing to add."""

    background = None

    def __init__(self, answer: _Answer) -> None:
        self.status_code = answer["status"]
        self.body = answer["body"].encode()
        self.raw_headers = [
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in answer["headers"].items()),
            (b"content-length", b"%d" % len(self.body)),
            _JSON,
        ]


CONFLICT = problem_responses(Conflict)
"""OpenAPI `responses` of a route that takes an `IdempotencyKey`."""
_DESCRIPTION = (
    "Makes a retry safe: within 24 hours, the same key and body get the first answer again. With or without quotation"
    " marks, it is the same key."
)
_PARAMETER = header_parameter(HEADER, _DESCRIPTION, pattern=f"^({_PATTERN})$", maxLength=MAX_LENGTH + 2)
RETRIES = {"parameters": [_PARAMETER]}
"""`openapi_extra` of a route that takes an `IdempotencyKey`."""
