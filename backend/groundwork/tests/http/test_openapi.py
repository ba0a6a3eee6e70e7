"""The OpenAPI document tells what the service does, and /docs shows it without any other host."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI

from groundwork.tests.http import assert_problem
from groundwork.tests.resources import RESOURCES, Resource, each_resource

# Generated clients name their functions after these: a changed name breaks every caller.
STATUSES = {
    "list_tasks": {200, 400, 503},
    "create_task": {201, 400, 409, 413, 415, 503},
    "get_task": {200, 304, 400, 404, 412, 503},
    "update_task": {200, 400, 404, 412, 413, 415, 503},
    "delete_task": {200, 400, 404, 412, 503},
    "toggle_task": {200, 400, 404, 412, 503},
    "live": {200},
    "ready": {200, 503},
}
# And their types after these. What is not required may be absent.
REQUIRED = {
    "Health": ["status"],
    "Message": ["message"],
    "Problem": ["type", "title", "status", "detail"],
    "RejectedPart": ["loc", "msg", "type"],
    "TaskCreate": ["title"],
    "TaskRead": ["id", "user_id", "title", "description", "completed", "created_at", "updated_at"],
    "TaskUpdate": [],
}


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def validator(document: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    """Validates by one of the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def test_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def test_every_operation_documents_exactly_the_statuses_that_happen(document: dict[str, Any]) -> None:
    documented = {
        operation["operationId"]: {int(status) for status in operation["responses"]}
        for operation in operations(document)
    }
    assert documented == STATUSES


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for status, response in operation["responses"].items():
            assert response["description"]
            if status == "304":
                assert "content" not in response
                continue
            [media_type] = response["content"]
            assert media_type == ("application/problem+json" if status >= "400" else "application/json")
            assert ("Retry-After" in response.get("headers", {})) == (status == "503")
            if status >= "400":
                content = response["content"][media_type]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                validator(document, "Problem").validate(content["example"])
                assert content["example"]["status"] == int(status)


def test_every_operation_and_parameter_is_described(document: dict[str, Any]) -> None:
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        for parameter in operation.get("parameters", []):
            assert parameter["description"] == parameter["schema"].get("description", parameter["description"])


def test_every_answer_that_is_one_resource_has_a_tag(document: dict[str, Any]) -> None:
    resources = [{"$ref": f"#/components/schemas/{resource.schema}Read"} for resource in RESOURCES]
    for operation in operations(document):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json", {})
            is_resource = content.get("schema") in resources
            assert ("ETag" in response.get("headers", {})) == (is_resource or status == "304")


def headers_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The header parameters of the operation."""
    [operation] = (each for each in operations(document) if each["operationId"] == name)
    return {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "header"}


@pytest.mark.parametrize("name", [name for resource in RESOURCES for name in resource.on_one()])
def test_an_operation_on_one_takes_conditions(document: dict[str, Any], name: str) -> None:
    headers = headers_of(document, name)
    assert set(headers) == {"If-Match", "If-None-Match"}
    assert not any(each.get("required") for each in headers.values())
    pattern = re.compile(headers["If-Match"]["schema"]["pattern"])
    for value in ("", "*", '"1-a"', 'W/"x"', '"1-a", "1-b"', '"1-a",W/"1-b"'):
        assert pattern.match(value)
    for value in ("1-a", '"a" "b"', '*, "a"'):
        assert not pattern.match(value)


def test_only_create_takes_a_key(document: dict[str, Any]) -> None:
    taking = [each["operationId"] for each in operations(document) if "Idempotency-Key" in str(each.get("parameters"))]
    assert set(taking) == {f"create_{resource.name}" for resource in RESOURCES}
    for name in taking:
        key = headers_of(document, name)["Idempotency-Key"]
        assert not key.get("required")
        assert re.match(key["schema"]["pattern"], '"8e03978e-40d5-43e8-bc93-6894a57f9324"')
        assert re.match(key["schema"]["pattern"], "8e03978e-40d5-43e8-bc93-6894a57f9324")
        assert not re.match(key["schema"]["pattern"], "two words")


def test_every_schema_is_used(document: dict[str, Any]) -> None:
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert used == set(document["components"]["schemas"])


def test_every_schema_keeps_its_name_and_says_what_is_always_there(document: dict[str, Any]) -> None:
    """An answer may have more than before, but not less; a request must not need more."""
    for name, members in REQUIRED.items():
        required = document["components"]["schemas"][name].get("required", [])
        assert required == members if name.endswith(("Create", "Update")) else set(required) >= set(members)


def test_no_member_has_a_default(document: dict[str, Any]) -> None:
    """openapi-typescript would take it for required: in an answer, where it may be absent, and in a request."""
    for schema in document["components"]["schemas"].values():
        assert not any("default" in member for member in schema["properties"].values())


def test_every_tag_is_declared_and_nobody_needs_a_token(document: dict[str, Any]) -> None:
    used = {tag for operation in operations(document) for tag in operation["tags"]}
    assert {tag["name"] for tag in document["tags"]} == used
    assert document["security"] == []
    assert not any("security" in operation for operation in operations(document))


@each_resource
def test_a_resource_is_documented_with_exactly_its_members(document: dict[str, Any], resource: Resource) -> None:
    schema = document["components"]["schemas"][f"{resource.schema}Read"]
    members = ["id", "user_id", resource.text, *resource.optional, *resource.references, "created_at", "updated_at"]
    assert list(schema["properties"]) == schema["required"] == members


@pytest.mark.parametrize(
    "name", [resource.schema + role for resource in RESOURCES for role in ("Create", "Update", "Read")]
)
def test_examples_are_as_their_schemas_say(document: dict[str, Any], name: str) -> None:
    examples = document["components"]["schemas"][name]["examples"]
    assert examples
    for example in examples:
        validator(document, name).validate(example)


@each_resource
async def test_examples_work(client: httpx.AsyncClient, document: dict[str, Any], resource: Resource) -> None:
    create, update, read = (
        document["components"]["schemas"][resource.schema + role]["examples"][0]
        for role in ("Create", "Update", "Read")
    )
    created = await resource.create(client, **create)
    assert created.keys() == read.keys()
    assert (await client.put(f"{resource.of('alice')}/{created['id']}", json=update)).status_code == 200


@each_resource
async def test_the_example_of_a_rejection_is_what_happens(
    client: httpx.AsyncClient, document: dict[str, Any], resource: Resource
) -> None:
    rejected = assert_problem(await client.post(resource.of("alice"), json={}), 400)
    responses = document["paths"][f"/api/{{user_id}}/{resource.plural}"]["post"]["responses"]
    assert rejected == responses["400"]["content"]["application/problem+json"]["example"]


@each_resource
async def test_without_a_body_the_example_of_a_rejection_happens_too(
    client: httpx.AsyncClient, document: dict[str, Any], resource: Resource
) -> None:
    rejected = assert_problem(await client.get(f"/api//{resource.plural}"), 400)
    documented = [
        operation["responses"]["400"]["content"]["application/problem+json"]["example"]
        for operation in operations(document)
        if "400" in operation["responses"] and not operation["operationId"].startswith("create_")
    ]
    assert len(documented) >= 4
    assert all(example == rejected for example in documented)


async def test_is_served(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    response = await client.get("/openapi.json")
    assert (response.status_code, response.json()) == (200, document)


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

    @each_resource
    async def test_links_and_locations_lead_back(
        self, client: httpx.AsyncClient, prefix: str, resource: Resource
    ) -> None:
        path = f"{prefix}{resource.of('a/b')}"
        for text in ("first", "second"):
            created = await client.post(path, json={resource.text: text})
            location = created.headers["location"]
            assert location == f"{path}/{created.json()['id']}"
            assert (await client.get(location)).json() == created.json()
        page = await client.get(f"{path}?limit=1")
        [one] = (await client.get(page.links["next"]["url"])).json()
        assert one[resource.text] == "first"

    @each_resource
    async def test_other_methods_are_refused(self, client: httpx.AsyncClient, prefix: str, resource: Resource) -> None:
        response = await client.delete(f"{prefix}{resource.of('alice')}")
        assert_problem(response, 405)
        assert response.headers["allow"] == "GET, HEAD, POST"
