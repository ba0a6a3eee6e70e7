"""The answer at `/`: a page for a browser, JSON for a program. It says no more than the OpenAPI document does."""

from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from groundwork.http.openapi import DOCS_PATH, DOCUMENT_PATH
from groundwork.http.paths import HEALTH_PREFIX

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1.5rem }}
  h1 {{ font-size: 1.75rem; margin: 0 }}
  h1 small {{ font-weight: normal; font-size: 1rem; opacity: .7 }}
  li {{ margin: .25rem 0 }}
  ul {{ list-style: none; padding: 0; margin-top: 1.5rem }}
  li span {{ opacity: .7 }}
</style>
<h1>{title} <small>{version}</small></h1>
<p>{summary}</p>
<ul>
{links}
</ul>
</html>
"""
_LINK = '  <li><a href="{url}">{name}</a> <span>{text}</span></li>'
_HEADERS = {
    "Vary": "Accept",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_SHOWN = {
    "documentation": ("Documentation", "every operation, to read and to try"),
    "openapi": ("OpenAPI document", "the same for programs"),
    "health": ("Health", "whether the service can serve"),
    "contact": ("Contact", "who runs it"),
}


def install_front_page(app: FastAPI) -> None:
    """Answer `GET /`."""

    async def front_page(request: Request) -> Response:
        prefix = request.scope.get("root_path", "")
        links = {name: f"{prefix}{path}" for name, path in _PATHS.items()}
        if app.contact and "url" in app.contact:
            links["contact"] = app.contact["url"]
        about = {"title": app.title, "version": app.version, "summary": app.summary or ""}
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(_page(about, links), headers=_HEADERS)
        return JSONResponse({**about, **links}, headers=_HEADERS)

    app.add_route("/", front_page, include_in_schema=False)


_PATHS = {"documentation": DOCS_PATH, "openapi": DOCUMENT_PATH, "health": f"{HEALTH_PREFIX}ready"}


def _page(about: dict[str, Any], links: dict[str, Any]) -> str:
    listed = [_LINK.format(url=escape(url), name=_SHOWN[name][0], text=_SHOWN[name][1]) for name, url in links.items()]
    return _PAGE.format(links="\n".join(listed), **{name: escape(text) for name, text in about.items()})
