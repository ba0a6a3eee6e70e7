"""Safe retries: a request with an Idempotency-Key takes effect once, and each retry gets the first response."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header

from app.core.config import Settings
from app.main import create_app
from app.services import tasks
from groundwork import ids
from groundwork.data.idempotency_records import KEEP
from groundwork.data.keyed_insert import key_arguments, keyed_insert
from groundwork.http.idempotency import IdempotencyKey
from groundwork.testing.http import client_of
from groundwork.tests.core import eventually
from groundwork.tests.http import ALICE, assert_problem, assert_rejected, body_of, send_raw

KEY = '"the first attempt"'
MILK: dict[str, Any] = {"title": "Buy milk"}
KEYED: Any = keyed_insert(tasks._CREATE)


async def post(
    client: httpx.AsyncClient, key: str = KEY, body: Any = MILK, path: str = ALICE, **headers: str
) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def shown(answer: httpx.Response) -> Any:
    """All that a client sees of the response, except the request's id."""
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"x-request-id"]
    return answer.status_code, headers, answer.content


async def count(connection: asyncpg.Connection, table: str = "tasks") -> Any:
    return await connection.fetchval(f"SELECT count(*) FROM {table}")


async def age(connection: asyncpg.Connection, interval: str, key: str = "%") -> None:
    await connection.execute(
        f"UPDATE idempotency_keys SET created_at = created_at - interval '{interval}' WHERE key LIKE $1", key
    )


class TestRetry:
    async def test_gets_the_first_answer_again_and_creates_nothing(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        first = await post(client)
        assert first.status_code == 201
        for _ in range(3):
            assert shown(await post(client)) == shown(first)
        assert await count(connection) == 1

    async def test_is_answered_like_a_request_without_a_key(self, client: httpx.AsyncClient) -> None:
        keyed, plain = await post(client), await client.post(ALICE, json=MILK)
        assert keyed.headers.keys() == plain.headers.keys()
        assert keyed.json().keys() == plain.json().keys()
        assert keyed.headers["content-type"] == plain.headers["content-type"]
        assert keyed.headers["location"] == f"{ALICE}/{keyed.json()['id']}"
        task = await client.get(keyed.headers["location"])
        assert (task.content, task.headers["etag"]) == (keyed.content, keyed.headers["etag"])

    async def test_gets_the_first_answer_even_after_a_change_or_the_end_of_the_task(
        self, client: httpx.AsyncClient
    ) -> None:
        first = await post(client)
        await client.patch(f"{first.headers['location']}/complete")
        assert shown(await post(client)) == shown(first)
        await client.delete(first.headers["location"])
        assert shown(await post(client)) == shown(first)
        assert (await client.get(ALICE)).json() == []

    async def test_gets_the_first_answer_after_a_restart(
        self, client: httpx.AsyncClient, settings: Settings, connection: asyncpg.Connection
    ) -> None:
        first = await post(client)
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as restarted:
            assert shown(await post(restarted)) == shown(first)
        assert await count(connection) == 1

    @pytest.mark.parametrize("text", ["Größe 👋", 'quote " back\\slash', "\x01\x7f\u202e", "%s $1"], ids=ascii)
    async def test_gets_text_back_as_it_was(self, client: httpx.AsyncClient, text: str) -> None:
        first = await post(client, body={"title": text, "description": text}, path="/api/a%2Fb%20%C3%A9/tasks")
        assert (first.json()["title"], first.json()["user_id"]) == (text, "a/b é")
        again = await post(client, body={"title": text, "description": text}, path="/api/a%2Fb%20%C3%A9/tasks")
        assert shown(again) == shown(first)


class TestAnotherRequestWithTheKey:
    async def test_is_refused(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        first = await post(client)
        problem = assert_problem(await post(client, body={"title": "Buy bread"}), 409)
        assert "new key" in problem["detail"]
        assert await count(connection) == 1
        assert shown(await post(client)) == shown(first)

    async def test_is_one_whose_bytes_differ(self, client: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": KEY, "Content-Type": "application/json"}
        for content, status in ((b'{"title":"x"}', 201), (b'{"title": "x"}', 409), (b'{"title":"x"}', 201)):
            assert (await client.post(ALICE, content=content, headers=headers)).status_code == status

    async def test_may_be_another_users(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        """Another user's key does not return their response, and does not reveal that it was used."""
        first = await post(client)
        other = await post(client, path="/api/mallory/tasks")
        assert other.status_code == 201
        assert other.json()["user_id"] == "mallory"
        assert other.json()["id"] != first.json()["id"]
        assert (await post(client, path="/api/bob/tasks", body={"title": "Buy bread"})).status_code == 201
        assert await count(connection) == 3

    async def test_may_have_a_key_that_differs_in_one_letter(self, client: httpx.AsyncClient) -> None:
        ids = {(await post(client, key)).json()["id"] for key in ('"a"', '"A"', '"a "', '" a"', '"%"', '"_"')}
        assert len(ids) == 6


class TestFailure:
    async def test_of_a_request_that_is_not_valid_does_not_use_the_key(self, client: httpx.AsyncClient) -> None:
        assert_rejected(await post(client, body={"title": ""}), "body", "title")
        assert (await post(client)).status_code == 201

    async def test_of_the_database_does_not_use_the_key(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        """Whichever statement fails, either all of them take effect or none."""
        await connection.execute("ALTER TABLE tasks ADD CONSTRAINT away CHECK (false) NOT VALID")
        defect = await client.post(ALICE, json=MILK, headers={"Idempotency-Key": KEY})
        assert defect.status_code == 500
        assert await count(connection, "idempotency_keys") == 0
        await connection.execute("ALTER TABLE tasks DROP CONSTRAINT away")
        await connection.execute("ALTER TABLE idempotency_keys ADD CONSTRAINT away CHECK (answer IS NULL) NOT VALID")
        assert (await client.post(ALICE, json=MILK, headers={"Idempotency-Key": KEY})).status_code == 500
        assert await count(connection) == await count(connection, "idempotency_keys") == 0
        await connection.execute("ALTER TABLE idempotency_keys DROP CONSTRAINT away")
        assert (await post(client)).status_code == 201

    async def test_for_lack_of_the_table_in_time_is_503_and_does_not_use_the_key(
        self, impatient: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            answer = await post(impatient)
        assert_problem(answer, 503)
        assert answer.headers["retry-after"]
        assert (await post(impatient)).status_code == 201
        assert await count(connection) == 1

    @pytest.fixture
    async def impatient(self, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
        """A client of a service whose statements may take one second."""
        app = create_app(settings.model_copy(update={"database_statement_seconds": 1}))
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client

    async def test_to_wait_for_the_first_in_time_is_503(
        self, impatient: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        async with connection.transaction():
            await hold(connection, KEY)
            answer = await post(impatient)
        assert_problem(answer, 503)
        assert answer.headers["retry-after"]
        assert await count(connection) == 0


async def hold(connection: asyncpg.Connection, key: str) -> None:
    """Hold the locks of a first attempt that has not ended yet."""
    await connection.execute(
        "INSERT INTO idempotency_keys (user_id, key, fingerprint) VALUES ('alice', $1, '')", key.strip('"')
    )


class TestAtOnce:
    @pytest.mark.parametrize("attempts", [2, 10])
    async def test_all_attempts_get_one_answer(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, attempts: int
    ) -> None:
        for number in range(20):
            answers = await asyncio.gather(*(post(client, f'"{number}"') for _ in range(attempts)))
            assert len({str(shown(answer)) for answer in answers}) == 1
            assert answers[0].status_code == 201
        assert await count(connection) == 20

    async def test_two_requests_with_one_key_are_one_answer_and_one_refusal(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(20):
            answers = await asyncio.gather(*(post(client, f'"{number}"', {"title": title}) for title in "ab"))
            assert sorted(answer.status_code for answer in answers) == [201, 409]
        assert await count(connection) == 20

    async def test_the_second_goes_on_when_the_first_fails(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, database_url: str
    ) -> None:
        async def second_waits() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            return bool(await observer.fetchval(waiting))

        observer = await asyncpg.connect(database_url)
        try:
            first = connection.transaction()
            await first.start()
            await hold(connection, KEY)
            second = asyncio.create_task(post(client))
            await eventually(second_waits)
            await first.rollback()
            assert (await second).status_code == 201
        finally:
            await observer.close()


class TestKey:
    @pytest.mark.parametrize(
        "key",
        ['"a"', '" "', '"' + "x" * 255 + '"', '"!#[]~\'"', '"a,b"', '"a;b"', "a", "x" * 255, "!#+-:<[]~'", "'a'",
         "8e03978e-40d5-43e8-bc93-6894a57f9324", "QUJD/0+1==", "order:17@shop", " \ta\t ", ' "a" '],
    )  # fmt: skip
    async def test_is_a_quoted_string_or_a_bare_token(self, client: httpx.AsyncClient, key: str) -> None:
        first = await post(client, key)
        assert first.status_code == 201
        assert shown(await post(client, key)) == shown(first)

    @pytest.mark.parametrize(
        "key",
        ["", " ", '"', '""', '"a', 'a"', '"a"b', 'a"b', '"a" "b"', '"a", "b"', '"a";b=1', '"' + "x" * 256 + '"',
         "x" * 256, '"a\\"b"', '"a\\\\b"', '"\t"', "a b", "a,b", "a, a", "a;b=1", "a\\b", "a\tb"],
    )  # fmt: skip
    async def test_is_refused_otherwise(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, key: str
    ) -> None:
        assert assert_rejected(await post(client, key), "header", "Idempotency-Key") == "idempotency_key"
        assert await count(connection) == 0

    @pytest.mark.parametrize("key", ['"é"'.encode(), b'"\x80"', b'"\x7f"', "é".encode(), b"\x80", b"a\x7f"])
    async def test_is_ascii(self, client: httpx.AsyncClient, key: bytes) -> None:
        answer = await client.post(ALICE, json=MILK, headers={b"Idempotency-Key": key})
        assert_rejected(answer, "header", "Idempotency-Key")

    async def test_is_given_once(self, client: httpx.AsyncClient) -> None:
        answer = await client.post(ALICE, json=MILK, headers=[("Idempotency-Key", KEY), ("Idempotency-Key", KEY)])
        assert_rejected(answer, "header", "Idempotency-Key")

    @pytest.mark.parametrize(("first", "second"), [("abc", '"abc"'), ('"abc"', "abc"), ("abc", " abc\t")])
    async def test_is_the_same_with_and_without_quotation_marks(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, first: str, second: str
    ) -> None:
        answer = await post(client, first)
        assert shown(await post(client, second)) == shown(answer)
        assert await connection.fetchval("SELECT key FROM idempotency_keys") == "abc"


class TestOperationThatTakesNoKey:
    """Ignoring the key would be worse than refusing it, because the client relies on it."""

    @pytest.mark.parametrize(
        ("method", "suffix"), [("PATCH", "/complete"), ("PUT", ""), ("DELETE", ""), ("PUT", "?a=1")]
    )
    @pytest.mark.parametrize("key", ["a", '"a"', ""])
    async def test_refuses_one_and_does_nothing(
        self, client: httpx.AsyncClient, method: str, suffix: str, key: str
    ) -> None:
        task = (await post(client)).headers["location"]
        before = await client.get(task)
        body = {"title": "x"} if method == "PUT" else None
        answer = await client.request(method, task + suffix, json=body, headers={"Idempotency-Key": key})
        assert assert_rejected(answer, "header", "Idempotency-Key") == "idempotency_key_not_taken"
        assert "If-Match" in answer.json()["errors"][0]["msg"]
        after = await client.get(task)
        assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_reads_all_the_same(self, client: httpx.AsyncClient, method: str) -> None:
        """Some clients add a key to every request, and repeating a read is harmless."""
        for path in (ALICE, (await post(client)).headers["location"], "/health/live", "/openapi.json"):
            assert (await client.request(method, path, headers={"Idempotency-Key": "a"})).status_code == 200

    async def test_may_be_of_a_teams_own(self, client: httpx.AsyncClient, app: FastAPI) -> None:
        router = APIRouter(prefix="/own")

        @router.post("/without")
        async def without() -> None: ...

        @router.post("/by-header")
        async def by_header(idempotency_key: Annotated[str, Header()]) -> str:
            return idempotency_key

        @router.post("/by-dependency")
        async def by_dependency(key: Annotated[str, Depends(value_of_key)]) -> str:
            return key

        app.include_router(router)
        headers = {"Idempotency-Key": "a"}
        assert_rejected(await client.post("/own/without", headers=headers), "header", "Idempotency-Key")
        for path in ("/own/by-header", "/own/by-dependency"):
            assert (await client.post(path, headers=headers)).json() == "a"

    @pytest.mark.parametrize(("method", "path", "status"), [("DELETE", "/nowhere", 404), ("DELETE", ALICE, 405)])
    async def test_is_none_where_there_is_no_operation(
        self, client: httpx.AsyncClient, method: str, path: str, status: int
    ) -> None:
        assert_problem(await client.request(method, path, headers={"Idempotency-Key": "a"}), status)


async def value_of_key(key: IdempotencyKey) -> str:
    return key.value if key else ""


class TestTheSameRequest:
    """An equivalent URI (RFC 3986, 6.2.2) is the same request, also for a key that the previous version stored."""

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("/api/a%2Fb/tasks", "/api/a%2fb/tasks"),
            ("/api/%E2%82%ac/tasks", "/api/%e2%82%AC/tasks"),
            ("/api/alice/tasks", "/api/%61lice/t%61sks"),
            ("/api/a-b.c_d~e/tasks", "/api/a%2Db%2Ec%5Fd%7Ee/tasks"),
            ("/api/alice/tasks?a=%2f", "/api/alice/tasks?%61=%2F"),
        ],
    )
    async def test_is_one_with_an_equivalent_uri(self, app: FastAPI, first: str, second: str) -> None:
        answers = [await send_keyed(app, path) for path in (first, second, first)]
        assert answers[0][0] == 201
        assert answers[1] == answers[2] == answers[0]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("/api/alice/tasks", "/api/alice/tasks?a=1"),
            ("/api/alice/tasks?a=1", "/api/alice/tasks?a=2"),
            ("/api/alice/tasks?a=1%262", "/api/alice/tasks?a=1&2"),
        ],
    )
    async def test_is_none_with_another_query(self, app: FastAPI, first: str, second: str) -> None:
        assert (await send_keyed(app, first))[0] == 201
        assert (await send_keyed(app, second))[0] == 409

    @pytest.mark.parametrize(
        ("user", "path", "fingerprint"),
        [
            ("alice", "/api/alice/tasks", "14668f0571db243f18339bcbee994c6901b4dae515fc81fca1549a34bcafbb83"),
            ("a/b@c", "/api/a%2Fb%40c/tasks", "f66448c1ef5797e319603471c51e83e14f001ed304ecaffc77e42b94087544fa"),
        ],
    )
    async def test_is_known_by_what_the_version_before_has_kept(
        self, app: FastAPI, connection: asyncpg.Connection, user: str, path: str, fingerprint: str
    ) -> None:
        kept = '{"status": 201, "headers": {}, "body": "{}"}'
        await connection.execute(
            "INSERT INTO idempotency_keys (user_id, key, fingerprint, answer) VALUES ($1, 'the first attempt', $2, $3)",
            user, bytes.fromhex(fingerprint), kept,
        )  # fmt: skip
        assert await send_keyed(app, path) == (201, {})


async def send_keyed(app: FastAPI, path: str) -> tuple[int, Any]:
    """Send a request with a key. httpx is not used, because it would normalise the path."""
    body = b'{"title":"Buy milk"}'
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    start, *rest = await send_raw(app, "POST", path, messages, headers=[(b"idempotency-key", KEY.encode())])
    return start["status"], body_of(rest)


class TestExpiry:
    async def test_a_key_lasts_a_day(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        first = await post(client)
        await age(connection, "23 hours 59 minutes")
        assert shown(await post(client)) == shown(first)
        await age(connection, "2 minutes")
        again = await post(client, body={"title": "Buy bread"})
        assert again.status_code == 201
        assert again.json()["id"] != first.json()["id"]
        assert shown(await post(client, body={"title": "Buy bread"})) == shown(again)
        assert await count(connection, "idempotency_keys") == 1

    async def test_of_an_expired_key_at_once_one_request_is_the_first(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(10):
            await post(client, f'"{number}"')
        await age(connection, "25 hours")
        for number in range(10):
            answers = await asyncio.gather(*(post(client, f'"{number}"') for _ in range(4)))
            assert len({answer.content for answer in answers}) == 1
        assert await count(connection) == 20

    async def test_each_use_removes_some_that_have_expired_and_no_others(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(25):
            await post(client, f'"old {number}"')
        await age(connection, "25 hours")
        await post(client, '"new"', path="/api/bob/tasks")
        assert await count(connection, "idempotency_keys") == 26
        left = []
        for number in range(4):
            await post(client, f'"new {number}"')
            left.append(await connection.fetchval("SELECT count(*) FROM idempotency_keys WHERE key LIKE 'old%'"))
        assert left == [15, 5, 0, 0]
        assert await count(connection, "idempotency_keys") == 5

    async def test_uses_at_once_do_not_wait_for_each_others_removal(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(20):
            await post(client, f'"old {number}"')
        await age(connection, "25 hours")
        answers = await asyncio.gather(*(post(client, f'"new {number}"') for number in range(10)))
        assert {answer.status_code for answer in answers} == {201}

    @pytest.mark.parametrize("prepare", ["ANALYZE idempotency_keys", "SELECT 1"], ids=["known", "new"])
    async def test_removal_reads_no_other_keys(self, connection: asyncpg.Connection, prepare: str) -> None:
        """This holds for a new table too, for which PostgreSQL has no statistics."""
        await connection.execute(
            "INSERT INTO idempotency_keys (user_id, key, fingerprint, answer, created_at)"
            " SELECT 'alice', n::text, '', '', now() - interval '1 hour' FROM generate_series(1, 5000) AS n"
        )
        await connection.execute(prepare)
        new = {**ids.new_row(), "title": "Buy milk", "description": None, "completed": False}
        for statement, values in (
            (KEEP, {"owner": "alice", "key": "7", "answer": ""}),
            (KEYED, {"owner": "alice", **new, **key_arguments("new", b"", "{}")}),
            (KEYED, {"owner": "alice", **new, **key_arguments("7", b"", "{}")}),
        ):
            rows = await connection.fetch(f"EXPLAIN ANALYZE {statement.sql}", *statement.arguments(values))
            plan = "\n".join(row[0] for row in rows)
            assert "user_id_created_at_idx" in plan  # a partition has its own name before it
            assert "Seq Scan" not in plan
            assert all(int(rows) <= 1 for rows in re.findall(r"Rows Removed by .*: (\d+)", plan))


async def test_both_ways_keep_one_answer(
    client: httpx.AsyncClient, app: FastAPI, connection: asyncpg.Connection
) -> None:
    """FastAPI's own routing replays an answer that a fast route has stored."""
    first = await post(client)
    again = await post(client, **{"Content-Type": "application/json; charset=utf-8"})
    assert shown(again) == shown(first)
    assert await count(connection) == 1
