"""The OpenAPI document, and Swagger UI at /docs, which loads nothing from other hosts."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

DOCS_PATH = "/docs"
DOCUMENT_PATH = "/openapi.json"
_FILES_PATH = "/docs/files"
# Each operation shows its schemas, so the list of all schemas is left closed.
_SWAGGER_UI = {"tryItOutEnabled": True, "displayRequestDuration": True, "defaultModelsExpandDepth": 0}
# Follows links from an operation to a part of the guide within the page. Swagger UI would open a new tab, and the guide
# is not there yet when that tab looks for its part.
_LINKS = """<script>
document.addEventListener("click", (event) => {
  const part = document.getElementById(event.target.closest?.('a[href^="#"]')?.hash.slice(1) ?? "");
  if (part) { event.preventDefault(); part.open = true; part.scrollIntoView(); }
});
</script></body>"""


def install_openapi(app: FastAPI, *, server_timing: bool = False) -> None:
    """Serve the document and Swagger UI, whose files come from the package `fastapi-swagger`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            from groundwork.http.openapi_document import document_of  # noqa: PLC0415 - only where it is read

            app.servers = _servers("")
            app.openapi_schema = document_of(app, server_timing=server_timing)
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
            swagger_ui_parameters=_SWAGGER_UI,
        )
        page = HTMLResponse(bytes(page.body).decode().replace("</body>", _LINKS))
        # This page can call the API, so no other site may frame it and trick its reader into clicking.
        page.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return page

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_route(DOCUMENT_PATH, served, include_in_schema=False)
    app.add_route(DOCS_PATH, docs, include_in_schema=False)
    app.mount(_FILES_PATH, StaticFiles(packages=[("fastapi_swagger", "resources")]))


def _servers(prefix: str) -> list[dict[str, str]]:
    """A relative URL, so that the server is the one that the document came from."""
    return [{"url": prefix.rstrip("/") or "/"}]
