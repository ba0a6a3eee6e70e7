"""The OpenAPI document describes what the service does, and /docs shows it without other hosts."""

import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
import httpx
import pytest
import schemathesis
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from app import main as app_module
from app.core.config import Settings
from groundwork.data import schema_state
from groundwork.data.database import Database
from groundwork.errors import Invalid, NotFound, PreconditionFailed, Unavailable
from groundwork.http import middleware
from groundwork.http.bodies import EXAMPLE_KEY, EXAMPLE_TIMES
from groundwork.http.download import Download
from groundwork.http.problems import problem_responses
from groundwork.serve.application import create_app
from groundwork.testing.contract.document import PROBLEM, examples_of, operation_of, provoke, require_documented_headers
from groundwork.testing.http import assert_problem, client_of
from groundwork.testing.resource import Operation
from tests.resources import TASK


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def test_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def headers_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The header parameters of the operation."""
    [operation] = (each for each in operations(document) if each["operationId"] == name)
    return {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "header"}


@pytest.mark.parametrize("name", ["get_task", "update_task", "delete_task", "toggle_task"])
def test_an_operation_on_one_takes_conditions_and_no_key(document: dict[str, Any], name: str) -> None:
    headers = headers_of(document, name)
    assert set(headers) == {"If-Match", "If-None-Match"}
    assert not any(each.get("required") for each in headers.values())
    pattern = re.compile(headers["If-Match"]["schema"]["pattern"])
    for value in ("", "*", '"1-a"', 'W/"x"', '"1-a", "1-b"', '"1-a",W/"1-b"'):
        assert pattern.match(value)
    for value in ("1-a", '"a" "b"', '*, "a"'):
        assert not pattern.match(value)


def test_create_takes_a_key(document: dict[str, Any]) -> None:
    headers = headers_of(document, "create_task")
    assert set(headers) == {"Idempotency-Key"}
    pattern = headers["Idempotency-Key"]["schema"]["pattern"]
    for key in ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"):
        assert re.match(pattern, key)
    assert not re.match(pattern, "two words")


def test_every_tag_is_declared_and_nobody_needs_a_token(document: dict[str, Any]) -> None:
    used = {tag for operation in operations(document) for tag in operation["tags"]}
    assert {tag["name"] for tag in document["tags"]} == used
    assert document["security"] == []
    assert not any("security" in operation for operation in operations(document))


# The first two have a test below. A conflict depends on the resource.
NOT_PROVOKED = {"Unavailable", "Overloaded", "Conflict"}


@pytest.mark.parametrize("operation", TASK.operations(), ids=lambda operation: operation.name)
async def test_every_example_of_an_error_can_be_provoked(
    client: httpx.AsyncClient, connection: asyncpg.Connection, document: dict[str, Any], operation: Operation
) -> None:
    """So the contract, which compares the examples that it can provoke, covers every example."""
    one = f"{TASK.of('alice')}/{await TASK.insert(connection)}"
    for status, response in operation_of(document, operation.name)["responses"].items():
        for name in examples_of(document, response.get("content", {}).get(PROBLEM, {})).keys() - NOT_PROVOKED:
            answer = await provoke(name, client, operation, one)
            assert answer is not None, name
            assert answer.status_code == int(status), (name, answer.text)


def test_an_application_describes_its_groups_itself(settings: Settings) -> None:
    own = {"name": "orders", "description": "What was ordered."}
    routers = [APIRouter(prefix=path, tags=[tag]) for path, tag in GROUPS]
    for router in routers:
        router.add_api_route("", no_content, name=f"of_{router.tags[0]}")
    app = create_app(settings, resources=routers, openapi_tags=[own])
    described = {tag["name"]: tag["description"] for tag in app.openapi()["tags"]}
    assert described == {
        "orders": "What was ordered.",
        "work_items": "The user's work items.",
        "lines": "The lines in the user's orders.",
        "prices": "Operations on prices.",
        "health": "Whether the process runs, and whether it can serve.",
    }


GROUPS = [
    ("/api/{user_id}/work_items", "work_items"),
    ("/api/{user_id}/orders/{order_id}/lines", "lines"),
    ("/api/{user_id}/orders", "orders"),
    ("/prices", "prices"),
]


async def no_content() -> None: ...


SIGN_IN = {"auth_issuer": "https://issuer.example.com/", "auth_audience": "https://api.example.com"}


@pytest.mark.parametrize(
    ("more", "parts"), [({}, set()), (SIGN_IN, {"sign-in"}), ({"rate_limit_per_minute": 60}, {"rate-limit"})]
)
def test_each_operation_links_to_the_parts_of_the_guide_that_it_uses(
    settings: Settings, more: dict[str, Any], parts: set[str]
) -> None:
    document = app_module.create_app(Settings.model_validate({**settings.model_dump(), **more})).openapi()
    guide = document["info"]["description"]
    links = {
        operation["operationId"]: set(re.findall(r"\(#([\w-]+)\)", operation["description"]))
        for operation in operations(document)
    }
    everywhere = {"errors", *parts}
    expected = {
        "list_tasks": {*everywhere, "paging"},
        "create_task": {*everywhere, "safe-retries"},
        "get_task": {*everywhere, "versions"},
        "update_task": {*everywhere, "versions"},
        "delete_task": {*everywhere, "versions"},
        "toggle_task": {*everywhere, "versions"},
        "live": set(),
        "ready": {"errors"},
    }
    assert links.items() >= expected.items()
    in_guide = re.findall(r'<details id="([\w-]+)">', guide)
    assert len(in_guide) == len(set(in_guide))
    assert set(in_guide) == {*everywhere, "request-ids", "paging", "versions", "safe-retries", "head"}


async def test_every_answer_declares_the_headers_of_all_layers(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit_per_minute": 60, "server_timing": True})
    app = app_module.create_app(limited)
    document = app.openapi()
    for operation in operations(document):
        more = {"RateLimit", "RateLimit-Policy"} if "429" in operation["responses"] else set()
        for response in operation["responses"].values():
            assert response["headers"].keys() >= {"X-Request-ID", "Server-Timing", *more}
    async with app.router.lifespan_context(app), client_of(app) as client:
        for path, name in (("/health/live", "live"), ("/health/ready", "ready"), (TASK.of("alice"), "list_tasks")):
            answer = await client.get(path)
            require_documented_headers(document, name, answer)
            assert ("ratelimit" in answer.headers) == (name == "list_tasks")


@pytest.mark.parametrize("cause", ["Unavailable", "Overloaded"])
async def test_the_examples_of_503_are_what_happens(
    client: httpx.AsyncClient,
    app: FastAPI,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable

    if cause == "Unavailable":
        monkeypatch.setattr(Database, "all", away)
    else:
        monkeypatch.setattr(middleware, "is_overloaded", lambda scope: True)
    answer = await client.get(TASK.of("alice"))
    content = operation_of(document, "list_tasks")["responses"]["503"]["content"][PROBLEM]
    assert assert_problem(answer, 503) == examples_of(document, content)[cause]
    require_documented_headers(document, "list_tasks", answer)


@pytest.mark.parametrize(
    ("error", "cause"), [(schema_state.Behind(), "DatabaseBehind"), (schema_state.Unfit("tasks"), "DatabaseUnfit")]
)
async def test_the_examples_of_readiness_are_what_happens(
    client: httpx.AsyncClient,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    cause: str,
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(schema_state, "require_fit", refuse)
    content = operation_of(document, "ready")["responses"]["503"]["content"][PROBLEM]
    examples = examples_of(document, content)
    assert examples.keys() == {"Unavailable", "DatabaseBehind", "DatabaseUnfit"}
    assert assert_problem(await client.get("/health/ready"), 503) == examples[cause]


class Node(BaseModel):
    """A node of a tree."""

    name: str
    parent: "Node | None"
    colour: Literal["red", "blue"]
    at: datetime
    children: list["Node"]
    pair: tuple[int, str]
    more: dict[str, Any]
    anything: Any


class WorkItemRead(BaseModel):
    number: int = Field(ge=5)


class WorkItemUpdate(BaseModel):
    name: str
    size: int


def test_routes_that_describe_nothing_get_labels_and_examples(settings: Settings) -> None:
    router = APIRouter(
        prefix="/api/{user_id}/items", responses=problem_responses(Invalid, NotFound, PreconditionFailed)
    )

    @router.get("/{item_id}")
    async def get_item(  # type: ignore[empty-body]
        user_id: str,
        item_id: UUID,
        days: Annotated[list[date], Query()],
        part: int = 0,
        q: str = Query("", examples=["milk"]),
    ) -> Node: ...

    @router.post("/{item_id}/copies", status_code=201)
    async def copy_item(user_id: str, item_id: UUID) -> WorkItemRead: ...  # type: ignore[empty-body]

    @router.get("")
    async def list_items(user_id: str) -> list[WorkItemRead]: ...  # type: ignore[empty-body]

    @router.delete("/{item_id}", status_code=204)
    async def delete_item(user_id: str, item_id: UUID) -> None: ...

    @router.get("/{item_id}/text", response_class=PlainTextResponse)
    async def get_text(user_id: str, item_id: UUID) -> str: ...  # type: ignore[empty-body]

    @router.put("/{item_id}")
    async def put_item(user_id: str, item_id: UUID, item: WorkItemUpdate) -> None: ...

    document = create_app(settings, resources=[router]).openapi()
    assert "Successful Response" not in str(document)
    labels = {
        (operation["operationId"], status): response["description"]
        for operation in operations(document)
        for status, response in operation["responses"].items()
    }
    assert labels["get_item", "200"] == "A node of a tree."
    assert labels["copy_item", "201"] == "The new work item."
    assert labels["list_items", "200"] == "The list."
    assert labels["delete_item", "204"] == "It is done. The answer has no body."
    assert labels["get_text", "200"] == "The answer, as `text/plain`."
    assert labels["get_item", "404"] == "There is no such item."
    assert labels["list_items", "404"] == "The user in the path is not the caller."
    assert labels["get_item", "412"] == "The item has another version than `If-Match` or `If-None-Match` asks for."
    get = operation_of(document, "get_item")
    assert get["summary"] == "Get item"
    time = EXAMPLE_TIMES["updated_at"]
    assert examples_of(document, get["responses"]["200"]["content"]["application/json"]) == {
        "Node": {
            "name": "text",
            "parent": None,
            "colour": "red",
            "at": time,
            "children": [],
            "pair": [],
            "more": {},
            "anything": None,
        }
    }
    listed = operation_of(document, "list_items")["responses"]["200"]["content"]["application/json"]
    assert examples_of(document, listed) == {"": [{"number": 5}]}
    parameters = {each["name"]: each.get("example", each["schema"].get("examples")) for each in get["parameters"]}
    assert parameters == {
        "user_id": EXAMPLE_KEY["user_id"],
        "item_id": EXAMPLE_KEY["id"],
        "days": [time[:10]],
        "part": [0],
        "q": ["milk"],
    }
    rejected = examples_of(document, get["responses"]["400"]["content"][PROBLEM])
    assert list(rejected) == ["path.item_id", "query.days.0", "query.part"]
    put = operation_of(document, "put_item")["responses"]["400"]["content"][PROBLEM]
    missing = [each["loc"][1] for each in examples_of(document, put)["body.name"]["errors"]]
    assert missing == ["name", "size"]


@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
class TestUnderPrefix:
    """The document if a proxy serves the application under a path of its own."""

    @pytest.fixture
    def client(self, app: FastAPI, prefix: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app, root_path=prefix), base_url="http://test")

    async def test_docs_name_only_files_that_are_served_here(self, client: httpx.AsyncClient, prefix: str) -> None:
        page = await client.get(f"{prefix}/docs")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert not re.search(r"https?://|[\"']//", page.text)
        named = re.findall(r"(?:src|href)=[\"'](.*?)[\"']", page.text)
        assert len(named) == 3
        for url in (*named, *re.findall(r"url: '(.*?)'", page.text)):
            assert url.startswith(f"{prefix}/")
            response = await client.get(url)
            assert response.status_code == 200
            assert response.content

    async def test_the_document_says_where_the_service_is(self, client: httpx.AsyncClient, prefix: str) -> None:
        document = (await client.get(f"{prefix}/openapi.json")).json()
        assert [server["url"] for server in document["servers"]] == [prefix or "/"]

    async def test_links_and_locations_lead_back(self, client: httpx.AsyncClient, prefix: str) -> None:
        path = f"{prefix}{TASK.of('a/b')}"
        for title in ("first", "second"):
            created = await client.post(path, json={"title": title})
            location = created.headers["location"]
            assert location == f"{path}/{created.json()['id']}"
            assert (await client.get(location)).json() == created.json()
        page = await client.get(f"{path}?limit=1")
        [one] = (await client.get(page.links["next"]["url"])).json()
        assert one["title"] == "first"

    async def test_other_methods_are_refused(self, client: httpx.AsyncClient, prefix: str) -> None:
        response = await client.delete(f"{prefix}{TASK.of('alice')}")
        assert_problem(response, 405)
        assert response.headers["allow"] == "GET, HEAD, POST"


def test_a_route_with_downloads_is_in_the_document() -> None:
    app = FastAPI()

    @app.get("/file", response_class=Download)
    async def file() -> None: ...

    assert app.openapi()["paths"]["/file"]["get"]["responses"].keys() == {"200"}
