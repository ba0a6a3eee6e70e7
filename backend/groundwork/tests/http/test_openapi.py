"""The OpenAPI document tells what the service does, and /docs shows it without any other host."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI

from groundwork.http.download import Download
from groundwork.testing.http import assert_problem
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


async def test_without_a_body_the_example_of_a_rejection_happens_too(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    rejected = assert_problem(await client.get("/api//tasks"), 400)
    for name in ("list_tasks", "get_task", "delete_task", "toggle_task"):
        [operation] = (each for each in operations(document) if each["operationId"] == name)
        assert operation["responses"]["400"]["content"]["application/problem+json"]["example"] == rejected


@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy"])
class TestUnderPrefix:
    """Also where a proxy serves the application under a path of its own."""

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
