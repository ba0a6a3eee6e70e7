"""The OpenAPI document, and Swagger UI at /docs, which loads nothing from other hosts."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from groundwork.errors import Invalid
from groundwork.http.problems import MEDIA_TYPE, Problem

DOCS_PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"
_FILES_PATH = "/docs/files"
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An access token of the issuer that this service trusts; its `sub` is the path's `user_id`.",
}


def install_openapi(app: FastAPI) -> None:
    """Serve the document and Swagger UI, whose files come from the package `fastapi-swagger`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    async def served(request: Request) -> JSONResponse:
        # Behind a proxy with a path prefix, the only server in the document is that prefix.
        return JSONResponse({**app.openapi(), "servers": _servers(request.scope.get("root_path", ""))})

    async def docs(request: Request) -> HTMLResponse:
        prefix = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{prefix}{DOCUMENT_PATH}",
            title=app.title,
            swagger_js_url=f"{prefix}{_FILES_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{prefix}{_FILES_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{prefix}{_FILES_PATH}/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True},
        )
        # This page can call the API, so no other site may frame it and trick its reader into clicking.
        page.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return page

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route(DOCUMENT_PATH, served, include_in_schema=False)
    app.add_route(DOCS_PATH, docs, include_in_schema=False)
    app.mount(_FILES_PATH, StaticFiles(packages=[("fastapi_swagger", "resources")]))


def _document(app: FastAPI) -> dict[str, Any]:
    app.servers = _servers("")
    document = FastAPI.openapi(app)
    # FastAPI adds a 422 to every operation with parameters. Here those errors are 400, with the schema of a problem.
    for operation in _operations(document):
        operation["responses"].pop("422", None)
    _name_missing_members(document)
    schemas = document["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["tags"] = [{"name": name} for name in _tags(document)]
    _describe_sign_in(document)
    return document


def _name_missing_members(document: dict[str, Any]) -> None:
    """Let the example of a 400 name a missing member if the operation's body has a required one."""
    for operation in _operations(document):
        schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        required = document["components"]["schemas"].get(name, {}).get("required")
        if required and "400" in operation["responses"]:
            example = operation["responses"]["400"]["content"][MEDIA_TYPE]["example"]
            missing = Invalid.at("body", required[0], msg="Field required", type="missing")
            example |= {"detail": missing.detail, "errors": missing.errors}


def _servers(prefix: str) -> list[dict[str, str]]:
    """A relative URL, so that the server is the one that the document came from."""
    return [{"url": prefix.rstrip("/") or "/"}]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _tags(document: dict[str, Any]) -> list[str]:
    """The names of all tags, in the order of the routes."""
    return list(dict.fromkeys(tag for operation in _operations(document) for tag in operation.get("tags", ())))


def _describe_sign_in(document: dict[str, Any]) -> None:
    """Mark each operation that can answer 401 as needing a token. Swagger UI then shows an Authorize button."""
    document["security"] = []
    for operation in _operations(document):
        if "401" in operation["responses"]:
            operation["security"] = [{"token": []}]
            document["components"]["securitySchemes"] = {"token": _TOKEN}
