"""Builds the OpenAPI document: FastAPI's own, with examples, labels, headers and a guide that routes need not write.

Nothing of this is loaded before somebody asks for the document.
"""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from groundwork.errors import NotFound, PreconditionFailed
from groundwork.http.openapi_examples import Schema, add_examples, shared
from groundwork.http.openapi_guide import add_guide, operations
from groundwork.http.problems import Problem, header, problem_responses

_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An access token of the issuer that this service trusts; its `sub` is the path's `user_id`.",
}
_SUCCESS = "Successful Response"
"""What FastAPI calls each answer that has no description."""
_DEFAULTS = problem_responses(NotFound, PreconditionFailed)


def document_of(app: FastAPI, *, server_timing: bool) -> Schema:
    """The document of the application.

    Args:
        server_timing: whether answers have a `Server-Timing` header.
    """
    document = FastAPI.openapi(app)
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "Problem": problem}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    contexts = {
        (context.path_format, method.lower()): context
        for context in iter_route_contexts(app.routes)
        for method in getattr(context, "methods", None) or ()
    }
    for path, method, operation in operations(document):
        # FastAPI adds a 422 to each operation with parameters. Here those errors are 400, with the schema of a problem.
        operation["responses"].pop("422", None)
        operation["responses"] = dict(sorted(operation["responses"].items()))
        _label(path, method, operation, schemas)
        _add_headers(document, operation, server_timing=server_timing)
        add_examples(document, path, operation, contexts[path, method])
        if "401" in operation["responses"]:
            # Swagger UI then shows an Authorize button.
            operation["security"] = [{"token": []}]
            document["components"]["securitySchemes"] = {"token": _TOKEN}
    add_guide(document)
    _name_local_times(document)
    document["security"] = []
    document["components"] = {name: dict(sorted(parts.items())) for name, parts in document["components"].items()}
    return document


def _label(path: str, method: str, operation: Schema, schemas: Schema) -> None:
    """Replace general labels by labels that name the resource."""
    words = operation["operationId"].replace("_", " ")
    if operation.get("summary") == words.title():
        operation["summary"] = words.capitalize()
    *_, last = re.findall(r"{(\w+)}", path) or [""]
    noun = last.removesuffix("_id").replace("_", " ")
    missing = f"There is no such {noun}." if last != "user_id" else "The user in the path is not the caller."
    version = f"The {noun} has another version than `If-Match` or `If-None-Match` asks for."
    for status, response in operation["responses"].items():
        if response["description"] == _SUCCESS:
            response["description"] = _success(status, method, response, noun, schemas)
        elif last:
            for code, text in ((404, missing), (412, version)):
                response["description"] = response["description"].replace(_DEFAULTS[code]["description"], text)


def _success(status: str, method: str, response: Schema, noun: str, schemas: Schema) -> str:
    """The label of an answer, from its schema's description or name."""
    for media_type, content in response.get("content", {}).items():
        schema = content.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if method == "delete" and name == "Message":
            return f"The {noun} is deleted."
        if name:
            words = re.sub(r"(?<!^)(?=[A-Z])", " ", name.removesuffix("-Output").removesuffix("Read")).lower()
            new = "new " if status == "201" else ""
            return schemas[name].get("description") or f"The {new}{words}."
        if schema.get("type") == "array":
            return "One page of the list." if "Link" in response.get("headers", {}) else "The list."
        return f"The answer, as `{media_type}`."
    return "It is done. The answer has no body."


def _name_local_times(part: Any) -> None:
    """A time has no offset here. JSON Schema's `time` demands one; OpenAPI's registry of formats has `time-local`."""
    if isinstance(part, dict):
        if part.get("type") == "string" and part.get("format") == "time":
            part["format"] = "time-local"
        part = list(part.values())
    for each in part if isinstance(part, list) else ():
        _name_local_times(each)


_REQUEST_ID = {"X-Request-ID": header("Finds the request in the service's log.", required=True)}
_RATE_LIMIT = {
    "RateLimit": header("How many requests are left (`r`), and in how many seconds there is one more (`t`)."),
    "RateLimit-Policy": header("How many requests (`q`) a user may send in how many seconds (`w`)."),
}
_TIMING = {"Server-Timing": header("Where the time went, in milliseconds.")}


def _add_headers(document: Schema, operation: Schema, *, server_timing: bool) -> None:
    """Declare the headers that the layers around the routes add. Each header is described once for all responses."""
    limited = "429" in operation["responses"]
    common = _REQUEST_ID | (_RATE_LIMIT if limited else {}) | (_TIMING if server_timing else {})
    for response in operation["responses"].values():
        headers = {**response.get("headers", {}), **common}
        # Only a header that is always there is shared: openapi-typescript takes every reference for a required header.
        response["headers"] = {
            name: shared(document, "headers", name, each) if each.get("required") else each
            for name, each in headers.items()
        }
