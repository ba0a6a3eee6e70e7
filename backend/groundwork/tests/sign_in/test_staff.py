"""Routes for staff: who reaches everybody's rows, and who does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from sqlalchemy import bindparam, func
from sqlmodel import col, select

from app.core.config import Settings
from app.core.database import Database
from app.models.task import Task
from app.schemas.task import TaskRead
from groundwork.data.listing import Listing
from groundwork.data.statement import Statement
from groundwork.dev import guard
from groundwork.http.ordering import Page, pages
from groundwork.serve.application import Application, create_app
from groundwork.testing.http import assert_problem, client_of
from groundwork.testing.service import Service
from groundwork.tests.core import database_at
from groundwork.tests.sign_in.issuer import Issuer
from groundwork.tests.sign_in.test_own_sign_in import Password
from tests.resources import TASK


class Counted(BaseModel):
    user_id: str
    tasks: int


_COUNT = Statement(
    select(col(Task.user_id), func.count().label("tasks")).group_by(col(Task.user_id)).order_by(col(Task.user_id)),
    returns=Counted,
    everybody="Support counts the tasks of each user.",
)

_LIST = Listing(
    select(Task), TaskRead, orders=[col(Task.title)], filters=[col(Task.user_id) == bindparam("user")],
    everybody="Support sorts the tasks of all users.",
)  # fmt: skip

staff = APIRouter(prefix="/staff", tags=["staff"])


@staff.get("/counts")
async def count_tasks(database: Database) -> list[Counted]:
    return await database.all(_COUNT)


@staff.get("/tasks")
async def list_tasks(
    database: Database, page: Annotated[Page[TaskRead], Depends(pages(_LIST))], user: str | None = None
) -> list[TaskRead]:
    return await page(database, user=user)


@staff.get("/users/{user_id}")
async def find_user(user_id: str) -> str:
    return user_id


@asynccontextmanager
async def served(settings: Settings, **options: Any) -> AsyncIterator[tuple[Application, httpx.AsyncClient]]:
    app = create_app(settings, **{"resources": [], "staff": {"support": [staff]}, **options})
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield app, client


@pytest.fixture
async def two_users(settings: Settings, service_under_test: Service) -> None:
    """Create two users who each have a task."""
    open_to_all = settings.model_copy(update={"auth_issuer": None, "auth_audience": None})
    app = service_under_test.create_app(open_to_all)
    async with app.router.lifespan_context(app), client_of(app) as client:
        for user in ("alice", "bob"):
            await TASK.create(client, user)


COUNTED = [{"user_id": "alice", "tasks": 1}, {"user_id": "bob", "tasks": 1}]


@pytest.mark.usefixtures("two_users")
@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["reader", "support"]}),
        ("scope", {"scope": "openid support"}),
        ("realm_access.roles", {"realm_access": {"roles": ["support"]}}),
        ("https://api.example.com/roles", {"https://api.example.com/roles": ["support"]}),
    ],
)
async def test_the_role_of_the_token_opens_the_route(
    settings: Settings, issuer: Issuer, claim: str, claims: dict[str, Any]
) -> None:
    async with served(settings.model_copy(update={"auth_roles_claim": claim})) as (_, client):
        answer = await client.get("/staff/counts", headers=issuer.bearer("eve", **claims))
        assert (answer.status_code, answer.json()) == (200, COUNTED)
        assert (await client.get("/staff/users/bob", headers=issuer.bearer("eve", **claims))).json() == "bob"


@pytest.mark.usefixtures("two_users")
@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"roles": []},
        {"roles": "supporter"},
        {"roles": ["Support", "sup", "support "]},
        {"roles": {"support": True}},
        {"roles": [["support"], 1, None]},
        {"roles": None},
        {"role": "support"},
    ],
)
async def test_no_other_token_opens_it(settings: Settings, issuer: Issuer, claims: dict[str, Any]) -> None:
    async with served(settings) as (_, client):
        answer = await client.get("/staff/counts", headers=issuer.bearer("alice", **claims))
        assert_problem(answer, 403)
        assert answer.json()["detail"] == "This needs the role support, which your token does not have."


@pytest.mark.usefixtures("two_users")
async def test_a_sorted_list_has_everybodys_rows_behind_the_role_only(
    settings: Settings, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    router = APIRouter(prefix="/api/{user_id}/all", tags=["all"])
    router.get("")(list_tasks)
    support = issuer.bearer("eve", roles=["support"])
    async with served(settings, resources=[router]) as (_, client):
        for query, users in (("", ["alice", "bob"]), ("&user=bob", ["bob"])):
            url = f"/staff/tasks?sort=title&limit=1&total=true{query}"
            first = await client.get(url, headers=support)
            assert (first.status_code, first.headers["x-total-count"]) == (200, str(len(users)))
            found = first.json()
            if "next" in first.links:
                found += (await client.get(first.links["next"]["url"], headers=support)).json()
            assert sorted(each["user_id"] for each in found) == users
        assert_problem(await client.get("/staff/tasks", headers=issuer.bearer("alice")), 403)
        for query in ("", "?sort=title", "?total=true", "?user=alice"):
            alice = issuer.bearer("alice", roles=["support"])
            assert_problem(await client.get(f"/api/alice/all{query}", headers=alice), 500)
    assert caplog.text.count("reaches everybody's rows, and the route asks for no role") >= 4


async def test_who_sends_no_token_or_a_wrong_one_gets_401(settings: Settings, issuer: Issuer) -> None:
    async with served(settings) as (_, client):
        assert_problem(await client.get("/staff/counts"), 401)
        expired = issuer.bearer("eve", roles=["support"], exp=1)
        assert_problem(await client.get("/staff/counts", headers=expired), 401)


@pytest.mark.usefixtures("two_users")
async def test_a_route_that_asks_for_no_role_cannot_run_the_statement(
    settings: Settings, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    router = APIRouter(prefix="/api/{user_id}/counts", tags=["counts"])
    router.get("")(count_tasks)
    async with served(settings, resources=[router]) as (_, client):
        for _ in range(2):  # the second comes on the same connection, after a request that had the role
            assert_problem(
                await client.get("/api/alice/counts", headers=issuer.bearer("alice", roles=["support"])), 500
            )
            staff_answer = await client.get("/staff/counts", headers=issuer.bearer("eve", roles=["support"]))
            assert staff_answer.status_code == 200
    assert "reaches everybody's rows, and the route asks for no role" in caplog.text


@pytest.mark.usefixtures("two_users")
async def test_a_job_runs_it_without_a_request(service_url: str) -> None:
    async def job() -> list[dict[str, Any]]:
        async with database_at(service_url) as database:
            return [each.model_dump() for each in await database.all(_COUNT)]

    assert await asyncio.create_task(job(), context=Context()) == COUNTED


@pytest.mark.usefixtures("two_users")
async def test_without_sign_in_nobody_is_asked(settings: Settings) -> None:
    async with served(settings.model_copy(update={"auth_issuer": None, "auth_audience": None})) as (_, client):
        assert (await client.get("/staff/counts")).json() == COUNTED


def test_a_sign_in_that_knows_no_roles_is_refused(settings: Settings) -> None:
    with pytest.raises(TypeError, match=r"Password has no require_role\(\)"):
        create_app(settings, resources=[], staff={"support": [staff]}, sign_in=Password())


async def test_the_document_names_the_token_and_403(settings: Settings) -> None:
    async with served(settings) as (app, _):
        operation = app.openapi()["paths"]["/staff/counts"]["get"]
        assert operation["security"] == [{"token": []}]
        assert {"401", "403"} <= set(operation["responses"])


def test_the_reason_is_a_sentence() -> None:
    with pytest.raises(TypeError, match="say in a sentence"):
        Statement(select(col(Task.title)), everybody="")
    with pytest.raises(TypeError, match="say in a sentence"):
        Listing(select(Task), TaskRead, orders=[], everybody="")


def test_a_statement_for_everybody_may_still_hold_no_text_and_no_unknown_function() -> None:
    with pytest.raises(TypeError, match="may reach any row"):
        Statement(select(func.query_to_xml("")), everybody="Of this test.")


def test_make_guard_lists_a_statement_for_everybody_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    guard.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines.count(f"everybody  {__name__}._COUNT: Support counts the tasks of each user.") == 1
    assert lines.count(f"everybody  {__name__}._LIST: Support sorts the tasks of all users.") == 1
