"""What `/` answers: a small page for a browser, and the same as JSON for a program.

It says nothing that `/openapi.json` does not say. A service's own route or mount at `/` replaces it.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from groundwork.http.openapi import DOCS_PATH, DOCUMENT_PATH

_PATHS = {"docs": DOCS_PATH, "openapi": DOCUMENT_PATH, "live": "/health/live", "ready": "/health/ready"}
_LABELS = {
    "docs": "Documentation",
    "openapi": "OpenAPI document",
    "live": "Is the process running?",
    "ready": "Can it serve?",
    "repository": "Repository",
}
_TYPE = re.compile(r"\s*([^\s;,]+)\s*((?:;[^;,]*)*)")
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def install_root_page(app: FastAPI) -> None:
    """Serve the page after all other routes, so that any of them at `/` comes first."""

    async def root(request: Request) -> Response:
        links = _links(app, request.scope.get("root_path", ""))
        if _prefers_html(request.headers.get("accept", "")):
            response: Response = HTMLResponse(_page(app, links), headers={"Content-Security-Policy": _template()[1]})
        else:
            response = JSONResponse({"name": app.title, "version": app.version, "links": links})
        response.headers["Vary"] = "Accept"
        return response

    app.add_route("/", root, include_in_schema=False)


def _links(app: FastAPI, prefix: str) -> dict[str, str]:
    """The links by name. `openapi_external_docs`, an option of FastAPI, names the repository."""
    links = {name: prefix + path for name, path in _PATHS.items()}
    repository = (app.openapi_external_docs or {}).get("url", "")
    return {**links, "repository": repository} if repository.startswith(("https://", "http://")) else links


def _page(app: FastAPI, links: dict[str, str]) -> str:
    shown = {_LABELS[name]: escape(url) for name, url in links.items()}
    items = (f'<li><a href="{url}">{label} <code>{url}</code></a></li>' for label, url in shown.items())
    summary = f"<p>{escape(app.summary)}</p>\n" if app.summary else ""
    name, version = escape(app.title), escape(app.version)
    return _template()[0].substitute(name=name, version=version, summary=summary, links="\n".join(items))


@cache
def _template() -> tuple[Template, str]:
    """The page, and the policy that lets a browser use its style and nothing else."""
    text = Path(__file__).with_suffix(".html").read_text("utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    hash_ = b64encode(sha256(style.encode()).digest()).decode()
    return Template(text), (
        f"default-src 'none'; style-src 'sha256-{hash_}'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )


def _prefers_html(accept: str) -> bool:
    """Whether the client names HTML, and does not prefer JSON. `*/*`, which most programs send, does not name it."""
    given = {found[1].lower(): _quality(found[2]) for part in accept.split(",") if (found := _TYPE.match(part))}
    html = given.get("text/html", 0.0)
    return html > 0 and html >= given.get("application/json", 0.0)


def _quality(parameters: str) -> float:
    found = _QUALITY.search(parameters)
    return float(found[1]) if found else 1.0
