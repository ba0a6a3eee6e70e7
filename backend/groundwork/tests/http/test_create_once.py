"""A create of one row with an Idempotency-Key is one statement, whatever happens at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import insert
from sqlmodel import col, select

from app.core.config import Settings
from app.core.database import Database, Executor
from app.main import create_app
from app.models.task import Task
from app.schemas.task import TaskCreate, TaskRead
from app.services import tasks
from groundwork import ids
from groundwork.data.keyed_insert import key_arguments, keyed_insert
from groundwork.data.ownership import owned
from groundwork.data.rows import insert_values
from groundwork.data.statement import Statement
from groundwork.http.idempotency import IdempotencyKey, create_once, run_idempotent
from groundwork.testing.http import client_of
from groundwork.testing.statements import Sent
from groundwork.tests.core import eventually
from groundwork.tests.http import ALICE, assert_problem, statements_reported

MILK = {"title": "Buy milk"}
KEYED: Any = keyed_insert(tasks._CREATE)


async def post(client: httpx.AsyncClient, key: str | None = "a", body: Any = MILK, path: str = ALICE) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})


def shown(answer: httpx.Response) -> Any:
    """All that a client sees of the response, except the request's id."""
    headers = [(name, value) for name, value in answer.headers.raw if name.lower() != b"x-request-id"]
    return answer.status_code, headers, answer.content


async def count(connection: asyncpg.Connection, table: str = "tasks") -> Any:
    return await connection.fetchval(f"SELECT count(*) FROM {table}")


class _Counted:
    """Counts what a request sends."""

    def __init__(self, sent: list[Sent]) -> None:
        self._sent = sent

    async def of(self, request: Awaitable[httpx.Response]) -> tuple[int, httpx.Response]:
        await statements_reported()
        self._sent.clear()
        answer = await request
        await statements_reported()
        return len(self._sent), answer


@pytest.fixture
async def counted(client: httpx.AsyncClient, sent_statements: list[Sent]) -> _Counted:
    await client.get(ALICE)  # opens the connection
    return _Counted(sent_statements)


class TestRoundTrips:
    async def test_are_one_for_a_create_with_a_key_and_one_for_each_retry(
        self, client: httpx.AsyncClient, counted: _Counted
    ) -> None:
        sent, first = await counted.of(post(client))
        assert (sent, first.status_code) == (1, 201)
        for _ in range(2):
            sent, again = await counted.of(post(client))
            assert sent == 1
            assert shown(again) == shown(first)

    async def test_are_one_where_another_request_has_used_the_key(
        self, client: httpx.AsyncClient, counted: _Counted
    ) -> None:
        await post(client)
        sent, other = await counted.of(post(client, body={"title": "Buy bread"}))
        assert sent == 1
        assert_problem(other, 409)

    async def test_are_one_for_a_key_that_has_expired(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, counted: _Counted
    ) -> None:
        for number in range(15):
            await post(client, f"{number}")
        await connection.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
        sent, again = await counted.of(post(client, "7", {"title": "Buy bread"}))
        assert (sent, again.json()["title"]) == (1, "Buy bread")
        assert await count(connection, "idempotency_keys") == 5, "ten are removed, and the claimed one is not"
        sent, retry = await counted.of(post(client, "7", {"title": "Buy bread"}))
        assert sent == 1
        assert shown(retry) == shown(again)

    async def test_are_one_without_a_key_and_nothing_is_kept(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, counted: _Counted
    ) -> None:
        sent, _ = await counted.of(post(client, None))
        assert sent == 1
        assert await count(connection, "idempotency_keys") == 0

    async def test_are_two_for_a_retry_that_waited_for_the_first_attempt(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, counted: _Counted, database_url: str
    ) -> None:
        """The statement sees what was committed when it began. So it does not see the record of the first attempt."""
        first = KEYED.arguments(
            {
                **ids.new_row(),
                "owner": "alice",
                "title": "First",
                "description": None,
                "completed": False,
                **key_arguments("a", b"another request", "{}"),
            }
        )
        observer = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                await connection.execute(KEYED.sql, *first)
                retry = asyncio.create_task(counted.of(post(client)))
                await eventually(partial(_is_waiting, observer))
            sent, answer = await retry
        finally:
            await observer.close()
        assert sent == 2
        assert_problem(answer, 409)
        assert await connection.fetchval("SELECT title FROM tasks") == "First"


async def _is_waiting(observer: asyncpg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    return bool(await observer.fetchval(waiting))


class TestAtOnce:
    async def test_twenty_attempts_are_one_creation_and_one_answer(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(10):
            answers = await asyncio.gather(*(post(client, f"{number}") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {201}
            assert len({str(shown(answer)) for answer in answers}) == 1
        assert await count(connection) == await count(connection, "idempotency_keys") == 10

    async def test_twenty_attempts_with_a_key_that_has_expired_get_the_new_answer(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        """An attempt that waits for the claim still sees the old record, and must not answer from it."""
        for number in range(10):
            old = await post(client, f"{number}")
            await connection.execute("UPDATE idempotency_keys SET created_at = created_at - interval '25 hours'")
            answers = await asyncio.gather(*(post(client, f"{number}") for _ in range(20)))
            assert len({str(shown(answer)) for answer in answers}) == 1
            assert answers[0].content != old.content
        assert await count(connection) == 20

    async def test_two_requests_are_one_creation_and_one_refusal(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        for number in range(10):
            bodies = [{"title": title} for title in "ab" * 10]
            answers = await asyncio.gather(*(post(client, f"{number}", body) for body in bodies))
            assert sorted(answer.status_code for answer in answers) == [201] * 10 + [409] * 10
        assert await count(connection) == 10


class TestInterrupted:
    """Either all of a create takes effect, or nothing."""

    async def test_a_session_that_is_killed_while_it_inserts_keeps_nothing(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, database_url: str
    ) -> None:
        killer = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                # The key is claimed, and the row waits.
                await connection.execute("LOCK TABLE tasks IN SHARE MODE")
                attempt = asyncio.create_task(post(client))
                find = (
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass"
                )
                await eventually(partial(killer.fetchval, find))
                assert_problem(await attempt, 503)
        finally:
            await killer.close()
        assert await count(connection) == await count(connection, "idempotency_keys") == 0
        first = await post(client)
        assert first.status_code == 201
        assert shown(await post(client)) == shown(first)
        assert await count(connection) == 1

    async def test_an_answer_that_was_lost_is_given_to_the_retry(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The statement takes effect, and the connection ends before its result arrives. It is not sent again."""
        fetchrow, calls = asyncpg.Connection.fetchrow, 0

        async def lost(self: asyncpg.Connection, *args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            await fetchrow(self, *args, **options)
            self.terminate()
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "fetchrow", lost)
            assert_problem(await post(client), 503)
        assert calls == 1
        again = await post(client)
        assert again.status_code == 201
        assert again.json()["id"] == str(await connection.fetchval("SELECT id FROM tasks"))
        assert await count(connection) == 1

    async def test_sessions_that_are_killed_all_the_time_create_one_row_for_each_key(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        """The kills come before, during or after the commit. Each client tries again until it has an answer."""
        answers: dict[str, set[str]] = {f"{number}": set() for number in range(40)}

        async def insist(key: str) -> None:
            while True:
                answer = await post(client, key)
                if answer.status_code != 503:
                    answers[key].add(str(shown(answer)))
                    return

        attempts = [asyncio.create_task(insist(key)) for key in answers for _ in range(3)]
        kill = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'"
        )
        killed = 0
        while not all(attempt.done() for attempt in attempts):
            killed += await connection.fetchval(kill) if killed < 20 else 0
            await asyncio.sleep(0.002)
        await asyncio.gather(*attempts)
        assert killed
        assert {len(each) for each in answers.values()} == {1}
        assert all(each.pop().startswith("(201,") for each in answers.values())
        assert await count(connection) == await count(connection, "idempotency_keys") == len(answers)

    async def test_a_constraint_that_refuses_the_row_leaves_the_key_unused(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        await connection.execute("ALTER TABLE tasks ADD CONSTRAINT no_milk CHECK (title <> 'Buy milk')")
        assert (await post(client)).status_code == 500
        assert await count(connection, "idempotency_keys") == 0
        assert (await post(client, body={"title": "Buy bread"})).status_code == 201


class TestRowThatIsNotAsExpected:
    """The answer is stored before the database decides what the row is."""

    @pytest.fixture
    async def client(self, settings: Settings, connection: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
        await connection.execute(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.title := upper(NEW.title); RETURN NEW; END $$;"
            " CREATE TRIGGER shout BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION shout()"
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client
        KEYED.is_exact = True

    async def test_the_answer_is_the_rows_and_the_retrys_too(self, client: httpx.AsyncClient) -> None:
        for key in "ab":
            first = await post(client, key)
            assert first.json()["title"] == "BUY MILK"
            assert first.headers.get_list("location") == [f"{ALICE}/{first.json()['id']}"]
            assert shown(await post(client, key)) == shown(first)
            assert (await client.get(first.headers["location"])).content == first.content

    async def test_the_next_is_created_in_a_transaction(self, client: httpx.AsyncClient, counted: _Counted) -> None:
        sent, _ = await counted.of(post(client, "first"))
        assert (sent, KEYED.is_exact) == (2, False)
        sent, _ = await counted.of(post(client, "second"))
        assert sent == 5


class TestRowThatIsKeptOut:
    """A trigger returns NULL and so prevents the insert. No statement can know that beforehand."""

    @pytest.fixture
    async def client(self, settings: Settings, connection: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
        await connection.execute(
            "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
            " CREATE TRIGGER keep_out BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.title = 'Buy milk')"
            " EXECUTE FUNCTION keep_out()"
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app), client_of(app) as client:
            yield client
        KEYED.is_exact = True

    async def test_is_answered_as_without_a_key_and_leaves_the_key_unused(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        without = await post(client, None)
        for _ in range(2):
            answer = await post(client)
            assert (answer.status_code, answer.json()["detail"]) == (without.status_code, without.json()["detail"])
            assert await count(connection, "idempotency_keys") == 0
        assert (await post(client, body={"title": "Buy bread"})).status_code == 201


_DEFAULTED = Statement(
    insert(Task)
    .values({name: value for name, value in insert_values(Task).items() if name not in ("created_at", "updated_at")})
    .returning(Task),
    returns=TaskRead,
)
_FIRST = Statement(select(Task).where(owned(Task)).order_by(col(Task.id)).limit(1), returns=TaskRead)


_ONE = ids.new_row()
_ONLY_ONE = Statement(
    insert(Task).values(insert_values(Task)).returning(Task),
    returns=TaskRead,
    conflicts={"tasks_pkey": "There is one already."},
)


async def _only_one(executor: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    row = await executor.one(_ONLY_ONE, owner=user_id, **_ONE, **vars(task))
    assert row
    return row


async def _with_defaults(executor: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    values = {"owner": user_id, "id": ids.uuid7(), **vars(task)}
    row = await executor.one(_DEFAULTED, **values)
    assert row
    return row


async def _after_a_look(executor: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    await executor.all(_FIRST, owner=user_id)
    return await tasks.create_task(executor, user_id, task)


async def _twice(executor: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    await tasks.create_task(executor, user_id, task)
    return await tasks.create_task(executor, user_id, task)


async def _shouted(executor: Executor, user_id: str, task: TaskCreate) -> TaskRead:
    row = await tasks.create_task(executor, user_id, task)
    return row.model_copy(update={"title": row.title.upper()})


class TestOtherCreates:
    """What create_once cannot do by one statement, it does in a transaction."""

    @pytest.fixture
    def not_partitioned(self, request: pytest.FixtureRequest) -> None:
        if request.config.option.partitioned:
            pytest.skip("PostgreSQL reports the name of the partition's constraint")

    @pytest.fixture
    def created_by(self, app: FastAPI) -> Callable[[Any], str]:
        """A function that adds an operation with a given `create`, and returns the operation's path."""

        def path_of(create: Callable[..., Awaitable[TaskRead]]) -> str:
            @app.post(f"/own/{create.__name__}", status_code=201, response_model=TaskRead)
            async def operation(
                task: TaskCreate, database: Database, key: IdempotencyKey, request: Request, response: Response
            ) -> Any:
                once = partial(create, user_id="alice", task=task)
                return await create_once(key, once, database, "alice", request, response)

            return f"/own/{create.__name__}"

        return path_of

    @pytest.mark.parametrize(("create", "statements"), [(_with_defaults, 5), (_after_a_look, 6)])
    async def test_run_in_a_transaction_where_the_row_is_not_known_beforehand(
        self,
        client: httpx.AsyncClient,
        connection: asyncpg.Connection,
        counted: _Counted,
        created_by: Any,
        create: Any,
        statements: int,
    ) -> None:
        path = created_by(create)
        sent, first = await counted.of(post(client, path=path))
        assert (sent, first.status_code) == (statements, 201), first.text
        assert UUID(first.json()["id"]) == await connection.fetchval("SELECT id FROM tasks")
        assert shown(await post(client, path=path)) == shown(first)
        assert await count(connection) == 1

    async def test_of_several_statements_are_refused_and_say_what_to_use(
        self, client: httpx.AsyncClient, created_by: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert (await post(client, path=created_by(_twice))).status_code == 500
        assert "TypeError: create_once() runs one statement; for several, pass in_transaction=True" in caplog.text

    @pytest.mark.usefixtures("not_partitioned")
    async def test_of_a_row_that_collides_with_another_leave_the_key_unused(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, created_by: Any, counted: _Counted
    ) -> None:
        path = created_by(_only_one)
        first = await post(client, "first", path=path)
        assert first.status_code == 201
        for _ in range(2):
            sent, second = await counted.of(post(client, "second", path=path))
            assert sent == 1
            assert assert_problem(second, 409)["detail"] == "There is one already."
        assert await count(connection, "idempotency_keys") == 1
        assert shown(await post(client, "first", path=path)) == shown(first)
        await connection.execute("DELETE FROM tasks")
        assert (await post(client, "second", path=path)).status_code == 201

    @pytest.mark.usefixtures("not_partitioned")
    async def test_of_one_row_at_once_are_one_creation_and_refusals(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, created_by: Any
    ) -> None:
        """Ten keys are used, with two attempts each."""
        path = created_by(_only_one)
        answers = await asyncio.gather(*(post(client, key, path=path) for key in "abcdefghij" * 2))
        assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 18
        assert await count(connection) == await count(connection, "idempotency_keys") == 1

    async def test_may_return_something_else_than_the_row(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection, created_by: Any
    ) -> None:
        path = created_by(_shouted)
        try:
            for key in "ab":
                first = await post(client, key, path=path)
                assert first.json()["title"] == "BUY MILK"
                assert shown(await post(client, key, path=path)) == shown(first)
        finally:
            KEYED.is_exact = True
        assert await count(connection) == 2


COLLIDE_ONCE = """
    CREATE SEQUENCE attempts;
    CREATE FUNCTION collide_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('attempts') = 1 THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF; RETURN NEW;
    END $$;
    CREATE TRIGGER collide_once BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION collide_once();
"""


class TestSeveralStatements:
    """The key is stored in the transaction of the statements. Without a key, they run in a transaction too."""

    @pytest.fixture(autouse=True, params=["run_idempotent", "create_once"])
    def operation(self, app: FastAPI, request: pytest.FixtureRequest) -> None:
        @app.post("/own/pair", status_code=201, response_model=TaskRead)
        async def create_pair(
            task: TaskCreate, database: Database, key: IdempotencyKey, asked: Request, response: Response
        ) -> Any:
            async def create(executor: Executor) -> TaskRead:
                response.headers["X-Pair"] = "a pair"
                first = await tasks.create_task(executor, "alice", task)
                await tasks.create_task(executor, "alice", TaskCreate(title=f"After {first.title}"))
                return first

            if request.param == "create_once":
                return await create_once(key, create, database, "alice", asked, response, in_transaction=True)
            return await run_idempotent(key, create, database, "alice", response, isolation="serializable")

    async def test_happen_once_for_each_key(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        answers = await asyncio.gather(*(post(client, path="/own/pair") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({str(shown(answer)) for answer in answers}) == 1
        assert await count(connection) == 2
        assert_problem(await post(client, body={"title": "Buy bread"}, path="/own/pair"), 409)

    async def test_all_take_effect_or_none(self, client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
        await connection.execute("ALTER TABLE tasks ADD CONSTRAINT no_pair CHECK (title NOT LIKE 'After%')")
        for key in (None, "1"):
            assert (await post(client, key, path="/own/pair")).status_code == 500
        assert await count(connection) == await count(connection, "idempotency_keys") == 0

    async def test_that_are_run_again_answer_by_the_last_run_only(
        self, client: httpx.AsyncClient, connection: asyncpg.Connection
    ) -> None:
        await connection.execute(COLLIDE_ONCE)
        first = await post(client, path="/own/pair")
        assert first.headers.get_list("x-pair") == ["a pair"]
        assert len(first.headers.get_list("etag")) <= 1
        assert UUID(first.json()["id"]) == await connection.fetchval("SELECT min(id::text)::uuid FROM tasks")
        assert shown(await post(client, path="/own/pair")) == shown(first)
        assert await count(connection) == 2
