"""Fast routes answer the same bytes as FastAPI's own routing, and pass on to it what they do not know."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import (
    APIRouter,
    Cookie,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    Response,
    Security,
)
from fastapi.responses import StreamingResponse
from fastapi.security import SecurityScopes
from pydantic import BaseModel

from app.core.config import Settings
from app.main import create_app
from groundwork.fast.fast_routes import FastRoutes
from groundwork.fast.plain_route import PlainRoute
from groundwork.fast.route_table import found_routes
from groundwork.http.conditional import entity_tag
from groundwork.http.routing import JSONRoute, get_database
from groundwork.testing.http import client_of
from groundwork.tests.stock import create_stock_app

pytestmark = pytest.mark.fast

TASK = "01890000-0000-7000-8000-000000000001"
OTHER = "01890000-0000-7000-8000-000000000002"
OWN = f"/api/alice/tasks/{TASK}"
JSON = {"content-type": "application/json"}
VERSION = datetime(2026, 11, 24, tzinfo=UTC)
TAG = entity_tag(VERSION).decode()
VARIES = re.compile(rb"\"1-[0-9a-f]+\"|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f-]{17}|\d{4}-\d\d-\d\dT[\d:.]+Z")

REQUESTS: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    # good
    ("GET", OWN, None, {}),
    ("GET", "/api/alice/tasks", None, {}),
    ("GET", "/api/alice/tasks?limit=1", None, {}),
    ("GET", "/api/alice/tasks?limit=1&limit=2&unknown=&completed=true", None, {}),
    ("GET", "/api/a%2Fb%20c/tasks", None, {}),
    ("GET", "/api/%E2%82%AC/tasks", None, {}),
    ("POST", "/api/alice/tasks", b'{"title": " x ", "unknown": 1}', JSON),
    ("POST", "/api/alice/tasks", b'{"title": "x", "description": null, "completed": true}', JSON),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {"content-type": "application/json; charset=utf-8"}),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {"content-type": "application/merge-patch+json"}),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {**JSON, "idempotency-key": '"a"'}),
    ("POST", "/api/a%2Fb%20c/tasks", b'{"title": "x"}', {**JSON, "idempotency-key": '"a"'}),
    ("PUT", OWN, b'{"description": "y"}', JSON),
    ("PUT", OWN, b"{}", JSON),
    ("PATCH", f"{OWN}/complete", None, {}),
    ("PATCH", f"{OWN}/complete", b"ignored", {}),
    ("DELETE", OWN, None, {}),
    ("GET", OWN, None, {"if-none-match": TAG}),
    ("GET", OWN, None, {"if-none-match": '"other"'}),
    ("PUT", OWN, b'{"description": "y"}', {**JSON, "if-match": TAG}),
    ("PUT", OWN, b"{}", {**JSON, "if-match": TAG}),
    ("PATCH", f"{OWN}/complete", None, {"if-match": TAG}),
    ("DELETE", OWN, None, {"if-match": TAG}),
    ("GET", "/health/live", None, {}),
    ("GET", "/health/ready", None, {}),
    # refused
    ("GET", f"/api/mallory/tasks/{TASK}", None, {}),
    ("GET", "/api/alice/tasks/7", None, {}),
    ("GET", "/api/alice/tasks/", None, {}),
    ("GET", "/api//tasks", None, {}),
    ("GET", f"/api/{'a' * 256}/tasks", None, {}),
    ("GET", "/api/%00/tasks", None, {}),
    ("GET", "/api/%FF/tasks", None, {}),
    ("GET", "/api/alice/tasks?limit=0", None, {}),
    ("GET", "/api/alice/tasks?limit=", None, {}),
    ("GET", "/api/alice/tasks?completed=maybe", None, {}),
    ("GET", "/api/alice/tasks?cursor=AAAA", None, {}),
    ("POST", "/api/alice/tasks", b"", JSON),
    ("POST", "/api/alice/tasks", None, {}),
    ("POST", "/api/alice/tasks", b'{"title": ', JSON),
    ("POST", "/api/alice/tasks", b'{"title": NaN}', JSON),
    ("POST", "/api/alice/tasks", b'{"title": "\\ud800"}', JSON),
    ("POST", "/api/alice/tasks", b'{"title": "\xff"}', JSON),
    ("POST", "/api/alice/tasks", b'{"title": "x", "completed": "yes"}', JSON),
    ("POST", "/api/alice/tasks", b'["title"]', JSON),
    ("POST", "/api/alice/tasks", b"[" * 100_000, JSON),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {"content-type": "text/plain"}),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {}),
    ("POST", "/api/alice/tasks", b" " * 2_000_000, JSON),
    ("POST", "/api/alice/tasks", b'{"title": "x"}', {**JSON, "idempotency-key": "a b"}),
    ("POST", "/api/alice/tasks", b'{"title": ""}', {**JSON, "idempotency-key": '"a"'}),
    ("POST", "/api/alice/tasks", b'{"title": ""}', {**JSON, "idempotency-key": "a b"}),
    ("POST", "/api/alice/tasks", b"", {**JSON, "idempotency-key": '"a"'}),
    ("PUT", OWN, b'{"title": null}', JSON),
    ("GET", OWN, None, {"if-match": '"other"'}),
    ("GET", OWN, None, {"if-none-match": "no tag"}),
    ("GET", "/api/alice/tasks/7", None, {"if-none-match": "no tag"}),
    ("PUT", OWN, b'{"title": "y"}', {**JSON, "if-match": '"other"'}),
    ("PUT", OWN, b'{"title": null}', {**JSON, "if-match": "no tag"}),
    ("PATCH", f"{OWN}/complete", None, {"if-match": f"W/{TAG}"}),
    ("DELETE", f"/api/mallory/tasks/{TASK}", None, {"if-match": TAG}),
    ("POST", OWN, None, {}),
    ("HEAD", OWN, None, {}),
    ("OPTIONS", "/api/alice/tasks", None, {}),
    ("GET", "/nothing/here", None, {}),
]


@pytest.fixture
def apps(settings: Settings) -> tuple[FastAPI, FastAPI]:
    """The application, and the same with `fast=False`."""
    return create_app(settings), create_stock_app(settings)


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the handlers that fast routes have run."""
    names: list[str] = []
    respond = PlainRoute.response

    async def spied(route: Any, *arguments: Any) -> Any:
        names.append(route.endpoint.__name__)
        return await respond(route, *arguments)

    monkeypatch.setattr(PlainRoute, "response", spied)
    return names


@pytest.mark.parametrize("prefix", ["", "/below/this"])
async def test_behind_a_proxys_path_the_short_way_is_taken_too(
    settings: Settings, handled: list[str], prefix: str
) -> None:
    """The proxy may remove its path or leave it in the request."""
    app = create_app(settings.model_copy(update={"root_path": "/below/this"}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        created = await client.post(f"{prefix}/api/a%2Fb/tasks", json={"title": "x"})
        assert created.headers["location"].startswith("/below/this/api/a%2Fb/tasks/")
        assert (await client.get(f"{prefix}/api/a%2Fb/tasks")).json() == [created.json()]
        assert (await client.head(f"{prefix}/health/live")).status_code == 200
        assert (await client.get(f"{prefix}/below/this/health/live")).status_code == (404 if prefix else 200)
        assert (await client.delete(f"{prefix}/health/live")).headers["allow"] == "GET, HEAD"
    assert handled[:3] == ["create_task", "list_tasks", "live"]


async def _answer(
    app: FastAPI, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        request = client.build_request(method, path, content=body, headers={"x-request-id": "same", **headers})
        answer = await client.send(request)
    heads = [(name, VARIES.sub(b"*", value)) for name, value in answer.headers.raw]
    return answer.status_code, heads, VARIES.sub(b"*", answer.content)


@pytest.mark.parametrize(("method", "path", "body", "headers"), REQUESTS)
async def test_both_ways_answer_alike(
    apps: tuple[FastAPI, FastAPI], connection: Any, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    answers = []
    for app in apps:
        await connection.execute("TRUNCATE tasks, idempotency_keys")
        for id_ in (TASK, OTHER):
            await connection.execute(
                "INSERT INTO tasks (user_id, id, title, updated_at) VALUES ('alice', $1, 'x', $2)", id_, VERSION
            )
        answers.append(await _answer(app, method, path, body, headers))
    short, own = answers
    assert short == own


async def test_every_operation_on_tasks_takes_the_short_way(client: httpx.AsyncClient, handled: list[str]) -> None:
    task = (await client.post("/api/alice/tasks", json={"title": "x"})).headers["location"]
    await client.get("/api/alice/tasks?limit=1")
    await client.get(task)
    await client.put(task, json={"title": "y"})
    await client.patch(f"{task}/complete")
    await client.delete(task)
    assert handled == ["create_task", "list_tasks", "get_task", "update_task", "toggle_task", "delete_task"]


def test_every_operation_on_a_users_data_can_take_it(app: FastAPI) -> None:
    taken = {
        route.endpoint.__name__
        for routes in found_routes(app.router).values()
        for route in routes
        if type(route) is PlainRoute
    }
    for path, operations in app.openapi()["paths"].items():
        if "{user_id}" in path:
            assert {operation["operationId"] for operation in operations.values()} <= taken


async def test_a_replaced_dependency_is_used(client: httpx.AsyncClient, app: FastAPI, handled: list[str]) -> None:
    class Empty:
        async def all(self, *_: Any, **__: Any) -> list[Any]:
            return []

    app.dependency_overrides[get_database] = Empty
    assert (await client.get("/api/alice/tasks")).json() == []
    assert not handled


class Item(BaseModel):
    name: str = ""


def _plain() -> FastAPI:
    app = FastAPI()
    app.add_middleware(FastRoutes)
    return app


async def _generated() -> AsyncIterator[str]:
    yield "generated"


async def _of_generated(name: Annotated[str, Depends(_generated)]) -> str:
    return name


async def _scopes(scopes: SecurityScopes) -> str:
    return scopes.scope_str


async def _require_name(request: Request) -> None:
    """A dependency without a result. It lets the request pass, or raises."""
    if request.headers.get("x-name") != request.path_params["name"]:
        raise HTTPException(401, headers={"www-authenticate": "Name"})


def _unknown_routes() -> FastAPI:
    """An application with a route for each feature that fast routes do not know."""
    app = _plain()

    @app.get("/cookie")
    async def cookie(name: Annotated[str, Cookie()] = "none") -> Item:
        return Item(name=name)

    @app.get("/yield")
    async def yielded(name: Annotated[str, Depends(_generated)]) -> Item:
        return Item(name=name)

    @app.get("/below")
    async def below(name: Annotated[str, Depends(_of_generated)]) -> Item:
        return Item(name=name)

    @app.get("/scopes")
    async def scopes(name: Annotated[str, Security(_scopes, scopes=["a"])]) -> Item:
        return Item(name=name)

    @app.get("/model")
    async def model(item: Annotated[Item, Query()]) -> Item:
        return item

    @app.get("/streamed", response_class=StreamingResponse)
    async def streamed() -> AsyncIterator[str]:
        yield "streamed"

    @app.get("/several")
    async def several(name: Annotated[list[str], Query()]) -> Item:
        return Item(name=",".join(name))

    @app.get("/file/{path:path}")
    async def file(path: str) -> Item:
        return Item(name=path)

    @app.get("/part-{name}")
    async def part(name: str) -> Item:
        return Item(name=name)

    @app.get("/number/{number:int}")
    async def number(number: int) -> Item:
        return Item(name=str(number))

    return app


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/cookie", b'{"name":"none"}'),
        ("/yield", b'{"name":"generated"}'),
        ("/below", b'{"name":"generated"}'),
        ("/scopes", b'{"name":"a"}'),
        ("/model?name=a", b'{"name":"a"}'),
        ("/streamed", b"streamed"),
        ("/several?name=a&name=b", b'{"name":"a,b"}'),
        ("/file/a/b", b'{"name":"a/b"}'),
        ("/part-a", b'{"name":"a"}'),
        ("/number/7", b'{"name":"7"}'),
    ],
)
async def test_what_it_does_not_know_is_left_to_fastapi(handled: list[str], path: str, expected: bytes) -> None:
    async with client_of(_unknown_routes()) as client:
        answer = await client.get(path, headers={"x-name": "x"})
    assert answer.content == expected
    assert not handled


@pytest.mark.parametrize("headers", [{"x-name": "a"}, {"x-name": "b"}, {}], ids=["let pass", "another", "none"])
@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PUT", b'{"name": "c"}'), ("PUT", b"{}"), ("PUT", b"["), ("POST", None)]
)
async def test_a_routers_dependency_decides_alike_both_ways(
    handled: list[str], method: str, body: bytes | None, headers: dict[str, str]
) -> None:
    answers = []
    for app in (_plain(), FastAPI()):
        router = APIRouter(prefix="/items/{name}", route_class=JSONRoute)

        @router.get("")
        async def get(name: str) -> Item:
            return Item(name=name)

        @router.put("")
        async def put(name: str, item: Item) -> Item:
            return Item(name=f"{name} {item.name}")

        app.include_router(router, dependencies=[Depends(_require_name)])
        answers.append(await _answer(app, method, "/items/a", body, {**JSON, **headers}))
    short, own = answers
    assert short == own
    assert handled == ([] if body == b"[" or method == "POST" else [method.lower()])


async def test_an_earlier_route_keeps_its_precedence(handled: list[str]) -> None:
    app = _plain()

    @app.get("/items/me")
    async def me(name: Annotated[str, Cookie()] = "me") -> Item:
        return Item(name=name)

    @app.get("/items/{name}")
    async def by_name(name: str) -> Item:
        return Item(name=f"by name {name}")

    async with client_of(app) as client:
        assert (await client.get("/items/me")).json() == {"name": "me"}
        assert (await client.get("/items/you")).json() == {"name": "by name you"}
    assert not handled


async def test_request_and_response_parameters_work(handled: list[str]) -> None:
    app = _plain()
    app.router.route_class = JSONRoute

    @app.post("/items/{name}")
    async def create(name: str, item: Item, request: Request, response: Response) -> Item:
        response.status_code = 202
        response.headers["x-where"] = str(request.url_for("create", name=item.name))
        return Item(name=f"{name} {item.name} {request.path_params}")

    async with client_of(app) as client:
        answer = await client.post("/items/a", json={"name": "b"})
    assert handled == ["create"]
    assert answer.status_code == 202
    assert answer.headers["x-where"] == "http://test/items/b"
    assert answer.json() == {"name": "a b {'name': 'a'}"}


async def test_a_result_that_is_not_the_response_model_is_a_defect(handled: list[str]) -> None:
    app = _plain()

    @app.get("/items")
    async def items() -> list[Item]:
        return [{"name": 7}]  # type: ignore[list-item]

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
    ) as client:
        assert (await client.get("/items")).status_code == 500
    assert handled == ["items"]
