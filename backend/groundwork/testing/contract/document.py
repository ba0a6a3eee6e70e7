"""The OpenAPI document says what each operation does, and its examples work."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI

from groundwork.testing.http import MISSING_ID
from groundwork.testing.parametrize import EACH, ON_ONE, promise
from groundwork.testing.resource import Differs, Operation, Resource

PROBLEM = "application/problem+json"
UNDOCUMENTED = {
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "x-content-type-options",
}
"""Headers of the transport and for browsers. Clients do nothing with them."""

HEADERS = {
    "PreconditionFailed": {"If-Match": '"1-1"'},
    "ForeignTag": {"If-Match": '"x"'},
    "KeyReused": {"Idempotency-Key": "1"},
    "ContentTooLarge": {"Content-Length": "9999999999"},
    "UnsupportedMediaType": {"Content-Type": "text/plain"},
    "UnsupportedEncoding": {"Content-Encoding": "gzip"},
}
"""For each example of an error: the headers that make a request fail with this error."""


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any], differs: Mapping[str, Differs]) -> Iterator[dict[str, Any]]:
    """All operations of the document except those that differ. Not all of them belong to a resource."""
    for path in document["paths"].values():
        for operation in path.values():
            entry = differs.get(operation["operationId"])
            if entry is None or "document" not in entry.from_:
                yield operation


def operation_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        each for path in document["paths"].values() for each in path.values() if each["operationId"] == name
    ]
    assert len(found) == 1, f"the document has {len(found)} operations {name}"
    return found[0]


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    schema: dict[str, Any] | None = document["components"]["schemas"].get(name)
    assert schema, f"the document has no schema {name}: give the class in app/schemas this name"
    return schema


def validator(document: dict[str, Any], name: str) -> jsonschema_rs.Draft202012Validator:
    """A validator for one of the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The component to which a value refers; or the value, if it is no reference."""
    *_, kind, name = value.get("$ref", "//").split("/")
    return document["components"][kind][name] if name else value


def examples_of(document: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """The examples of a body of a request or of an answer, by name."""
    named = {name: resolve(document, each)["value"] for name, each in content.get("examples", {}).items()}
    return {**named, **({"": content["example"]} if "example" in content else {})}


def headers_of(operation: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in operation.get("parameters", []) if each["in"] == "header"}


def test_every_error_is_a_problem(document: dict[str, Any], differs: Mapping[str, Differs]) -> None:
    for operation in operations(document, differs):
        name = operation["operationId"]
        for status, response in operation["responses"].items():
            assert response["description"], name
            if status == "304" or (status < "400" and "content" not in response):
                assert "content" not in response, name
                continue
            [media_type] = response["content"]
            assert media_type == ("application/problem+json" if status >= "400" else "application/json"), (
                f"{name} answers {status} as {media_type}. If that is meant, say so in DIFFERS of tests/resources.py:"
                f' "{name}": Differs("the reason", from_=["document"])'
            )
            assert ("Retry-After" in response.get("headers", {})) == (status == "503"), name
            if status >= "400":
                content = response["content"][media_type]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, name
                examples = examples_of(document, content)
                assert examples, f"{name} has no example of {status}"
                for example in examples.values():
                    validator(document, "Problem").validate(example)
                    assert example["status"] == int(status), name


def test_every_operation_and_parameter_is_described(document: dict[str, Any], differs: Mapping[str, Differs]) -> None:
    for operation in operations(document, differs):
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation.get("description"), f"{name} is not described: give its function a docstring"
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{name} does not describe its parameter {parameter['name']}"
        for status, response in operation["responses"].items():
            assert response["description"] not in ("", "Successful Response"), f"{name} does not describe its {status}"


def test_every_parameter_and_body_has_an_example(document: dict[str, Any], differs: Mapping[str, Differs]) -> None:
    for operation in operations(document, differs):
        name = operation["operationId"]
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            examples = [parameter["example"]] if "example" in parameter else schema.get("examples", [])
            assert examples, f"{name} has no example of {parameter['name']}"
            for example in examples:
                assert is_valid(document, schema, example), (
                    f"the example of {parameter['name']} of {name} is not valid: give one, as in Query(examples=[…])"
                )
        for body in (operation.get("requestBody", {}), *operation["responses"].values()):
            for content in body.get("content", {}).values():
                examples = [*examples_of(document, content).values()]
                assert examples, f"{name} has a body without an example"
                for example in examples:
                    assert is_valid(document, content["schema"], example), (
                        f"{name}: the example {example} is not valid; give its class in app/schemas"
                        " json_schema_extra=examples(…)"
                    )


def is_valid(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True).is_valid(value)


def test_every_schema_is_used_and_has_no_defaults(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", str(document))) == set(schemas)
    for name, schema in schemas.items():
        for member, described in schema.get("properties", {}).items():
            assert "default" not in described, (
                f"{name}.{member} has a default, so openapi-typescript makes the member required: use"
                " Field(default_factory=…)"
            )


def test_every_tag_is_declared(document: dict[str, Any], differs: Mapping[str, Differs]) -> None:
    used = {tag for operation in operations(document, differs) for tag in operation.get("tags", ())}
    assert used <= {tag["name"] for tag in document["tags"]}


def test_every_answer_that_is_one_resource_has_a_tag(
    document: dict[str, Any], differs: Mapping[str, Differs], resources: Sequence[Resource]
) -> None:
    references = [{"$ref": f"#/components/schemas/{resource.schema}Read"} for resource in resources]
    for operation in operations(document, differs):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json", {})
            wants_tag = content.get("schema") in references or status == "304"
            assert ("ETag" in response.get("headers", {})) == wants_tag, (
                f"{operation['operationId']}, {status}: each answer that is one resource needs an ETag, and no other"
                " answer may have one; groundwork.http.responses has the `responses` of the usual operations"
            )


async def test_the_document_is_served(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    response = await client.get("/openapi.json")
    assert (response.status_code, response.json()) == (200, document)


@promise("document", ON_ONE)
def test_an_operation_on_one_takes_conditions(document: dict[str, Any], operation: Operation) -> None:
    headers = headers_of(operation_of(document, operation.name))
    assert {"If-Match", "If-None-Match"} <= headers.keys(), "give the route openapi_extra=CONDITIONS"


@promise("document", "create")
def test_create_takes_a_key(document: dict[str, Any], resource: Resource) -> None:
    headers = headers_of(operation_of(document, f"create_{resource.name}"))
    assert "Idempotency-Key" in headers, "give the route openapi_extra=RETRIES"
    assert not headers["Idempotency-Key"].get("required")


@promise("document", EACH)
def test_an_operation_documents_the_errors_that_happen(document: dict[str, Any], operation: Operation) -> None:
    """A generated client does not expect an error that is missing in the document."""
    statuses = operation_of(document, operation.name)["responses"].keys()
    expected = {"400", "503", *(("404",) if operation.is_on_one else ())}
    assert expected <= statuses, f"it does not document {expected - statuses}: see groundwork.http.responses"


@promise("document", "get")
def test_a_resource_is_documented_with_exactly_its_members(document: dict[str, Any], resource: Resource) -> None:
    schema = schema_of(document, f"{resource.schema}Read")
    owner = resource.stored.owner("alice")
    expected = {"id", *owner, *resource.members, *resource.computed, "created_at", "updated_at"}
    assert set(schema["properties"]) == expected, "tests/resources.py names each member with a sample"
    assert schema["required"] == list(schema["properties"]), "an answer has all of its members, always"


@promise("document", "create", "update", "get")
@pytest.mark.parametrize("role", ["Create", "Update", "Read"])
def test_examples_are_as_their_schemas_say(document: dict[str, Any], resource: Resource, role: str) -> None:
    name = f"{resource.schema}{role}"
    examples = schema_of(document, name).get("examples")
    assert examples, f"{name} has no example: json_schema_extra=examples(…)"
    for example in examples:
        validator(document, name).validate(example)


@promise("document", "create", "update", "get")
async def test_examples_work(
    client: httpx.AsyncClient, connection: asyncpg.Connection, document: dict[str, Any], resource: Resource
) -> None:
    create, update, read = (
        schema_of(document, resource.schema + role)["examples"][0] for role in ("Create", "Update", "Read")
    )
    created = await client.post(resource.of("alice"), json=create)
    assert created.status_code == 201, created.text
    assert created.json().keys() == read.keys()
    await resource.stored.remove(connection, "alice")  # both examples may have the same value of what must be unique
    one = f"{resource.of('alice')}/{await resource.insert(connection)}"
    assert (await client.put(one, json=update)).status_code == 200


@promise("document", EACH)
async def test_examples_of_errors_happen(
    client: httpx.AsyncClient, connection: asyncpg.Connection, document: dict[str, Any], operation: Operation
) -> None:
    """Only errors of the library are provoked here. Only your tests know how to cause your own errors."""
    one = f"{operation.resource.of('alice')}/{await operation.resource.insert(connection)}"
    for status, response in operation_of(document, operation.name)["responses"].items():
        content = response.get("content", {}).get(PROBLEM, {})
        for name, example in examples_of(document, content).items():
            answer = await provoke(name, client, operation, one)
            # Other promises check that an error has its status and is a problem.
            if answer is not None and (str(answer.status_code), answer.headers["content-type"]) == (status, PROBLEM):
                # The limit of a body depends on the settings.
                assert re.sub(r"\d+ bytes", "", str(answer.json())) == re.sub(r"\d+ bytes", "", str(example)), name
                require_documented_headers(document, operation.name, answer)


async def provoke(cause: str, client: httpx.AsyncClient, operation: Operation, one: str) -> httpx.Response | None:
    """The answer to a request that causes the error of an example; None if this function does not know how.

    Args:
        cause: the name of the example.
        one: the path of a row that exists.
    """
    resource = operation.resource
    own = resource.of("alice")
    path = one if operation.is_on_one else own
    place, _, name = cause.partition(".")
    usual = {f"create_{resource.name}": "POST", f"update_{resource.name}": "PUT"}
    if cause == "MalformedJSON" and operation.name in usual:
        headers = {"Content-Type": "application/json"}
        return await client.request(usual[operation.name], path, content=b'{"a": 1,}', headers=headers)
    if place == "body" and operation.name in usual:
        return await client.request(usual[operation.name], path, json={} if name else [])
    if place == "query" and not operation.is_on_one:
        name = name.partition(".")[0]  # the rest is the place in a list
        answer = await operation.send(client, f"{path}?{name}=-")
        return answer if answer.is_error else await operation.send(client, f"{path}?{name}=")
    paths = {"path.user_id": f"/api//{path.removeprefix('/api/').partition('/')[2]}"}
    if operation.is_on_one:
        paths |= {f"path.{resource.name}_id": f"{own}/-", f"{resource.schema}NotFound": f"{own}/{MISSING_ID}"}
    headers = HEADERS.get(place, {name: "a b"} if place == "header" else {})
    if not headers and cause not in paths:
        return None
    with sent(client, headers):
        answer = await operation.send(client, paths.get(cause, path))
        return await operation.send(client, f"{path}?another") if cause == "KeyReused" else answer


@contextmanager
def sent(client: httpx.AsyncClient, headers: dict[str, str]) -> Iterator[None]:
    """Inside the block, the client sends these headers in place of the request's own."""

    async def replace(request: httpx.Request) -> None:
        request.headers.update(headers)

    client.event_hooks = {"request": [replace]}
    yield
    client.event_hooks = {}


@promise("document", EACH)
async def test_an_answer_has_the_documented_headers(
    client: httpx.AsyncClient, connection: asyncpg.Connection, document: dict[str, Any], operation: Operation
) -> None:
    own = operation.resource.of("alice")
    path = f"{own}/{await operation.resource.insert(connection)}" if operation.is_on_one else own
    answer = await operation.send(client, path)
    assert answer.is_success, answer.text
    require_documented_headers(document, operation.name, answer)


def require_documented_headers(document: dict[str, Any], name: str, answer: httpx.Response) -> None:
    """Check that the document names the answer's headers, and that the required ones are there."""
    described = operation_of(document, name)["responses"][str(answer.status_code)].get("headers", {})
    headers = {header.lower(): resolve(document, each) for header, each in described.items()}
    required = {header for header, each in headers.items() if each.get("required")}
    assert required <= answer.headers.keys(), f"{name} answers {answer.status_code} without {required}"
    more = answer.headers.keys() - headers.keys() - UNDOCUMENTED
    assert not more, (
        f"{name} answers {answer.status_code} with headers that the document does not name: {', '.join(more)}. Add them"
        ' to its route: responses={…: {"headers": {…: {"description": "…", "schema": {"type": "string"}}}}}'
    )
