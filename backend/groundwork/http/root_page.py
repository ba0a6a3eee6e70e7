"""What `/` answers: a small page for a browser, and the same as JSON for a program.

It says nothing that `/openapi.json` does not say. A service's own route or mount at `/` replaces it.
"""

import re
from base64 import b64encode
from hashlib import sha256
from html import escape

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from groundwork.http.openapi import DOCS_PATH, DOCUMENT_PATH

_STYLE = """
:root { color-scheme: light dark; --line: #d8dee6; --muted: #5a6675; --link: #0b5cad; --card: #ffffff; --back: #f4f6f9 }
@media (prefers-color-scheme: dark) {
  :root { --line: #303a47; --muted: #9aa7b6; --link: #7db8f5; --card: #19212b; --back: #10161d }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--back);
  font: 16px/1.5 system-ui, sans-serif }
main { width: 100%; max-width: 34rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere }
h1 small { font-size: 0.9rem; font-weight: 400; color: var(--muted); white-space: nowrap }
p { margin: 0.5rem 0 0; color: var(--muted) }
ul { margin: 1.5rem 0 0; padding: 0; list-style: none }
a { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0 1rem; padding: 0.7rem 0;
  border-top: 1px solid var(--line); color: var(--link); text-decoration: none }
a:hover, a:focus-visible { text-decoration: underline }
code { font: 0.9rem ui-monospace, monospace; color: var(--muted); overflow-wrap: anywhere }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{name}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{name} <small>version {version}</small></h1>
{summary}<ul>
{links}
</ul>
</main>
</body>
</html>
"""
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
        given = {"name": app.title, "version": app.version}
        if _prefers_html(request.headers.get("accept", "")):
            response: Response = HTMLResponse(_page(app, links), headers={"Content-Security-Policy": _POLICY})
        else:
            response = JSONResponse({**given, "links": links})
        response.headers["Vary"] = "Accept"
        return response

    app.add_route("/", root, include_in_schema=False)


def _links(app: FastAPI, prefix: str) -> dict[str, str]:
    """The links by name. `openapi_external_docs`, an option of FastAPI, names the repository."""
    links = {
        "docs": f"{prefix}{DOCS_PATH}",
        "openapi": f"{prefix}{DOCUMENT_PATH}",
        "live": f"{prefix}/health/live",
        "ready": f"{prefix}/health/ready",
    }
    repository = (app.openapi_external_docs or {}).get("url", "")
    return {**links, "repository": repository} if repository.startswith(("https://", "http://")) else links


def _page(app: FastAPI, links: dict[str, str]) -> str:
    items = (
        f'<li><a href="{escape(url)}">{_LABELS[name]} <code>{escape(url)}</code></a></li>'
        for name, url in links.items()
    )
    summary = f"<p>{escape(app.summary)}</p>\n" if app.summary else ""
    name, version = escape(app.title), escape(app.version)
    return _PAGE.format(name=name, version=version, style=_STYLE, summary=summary, links="\n".join(items))


def _prefers_html(accept: str) -> bool:
    """Whether the client names HTML, and does not prefer JSON. `*/*`, which most programs send, does not name it."""
    given = {found[1].lower(): _quality(found[2]) for part in accept.split(",") if (found := _TYPE.match(part))}
    html = given.get("text/html", 0.0)
    return html > 0 and html >= given.get("application/json", 0.0)


def _quality(parameters: str) -> float:
    found = _QUALITY.search(parameters)
    return float(found[1]) if found else 1.0
