"""What `/` answers: a page for a browser, JSON for a program, 404 when it is off, and a service's own route instead."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from app.core.config import Settings
from groundwork.serve.application import Application, create_app
from groundwork.testing.http import client_of
from groundwork.tests.http import assert_problem

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HTML, JSON = "text/html; charset=utf-8", "application/json"
LINKS = {"docs": "/docs", "openapi": "/openapi.json", "live": "/health/live", "ready": "/health/ready"}


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (CHROME, HTML),
        ("text/html", HTML),
        ("TEXT/HTML;level=1;q=0.3", HTML),
        ("text/html, application/json", HTML),
        ("application/json;q=0.5, text/html", HTML),
        ("", JSON),
        ("*/*", JSON),
        ("text/*", JSON),
        ("application/json, text/html;q=0.9", JSON),
        ("text/html;q=0", JSON),
        ("text/htmlx, ;;q=,,=", JSON),
    ],
)
async def test_a_browser_gets_a_page_and_a_program_json(
    client: httpx.AsyncClient, accept: str, media_type: str
) -> None:
    response = await client.get("/", headers={"Accept": accept})
    head = await client.head("/", headers={"Accept": accept})
    for answer in (response, head):
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.headers["vary"] == "Accept"
        assert answer.headers["cache-control"] == "no-store"
    assert head.content == b""
    assert head.headers["content-length"] == str(len(response.content))


async def test_both_say_the_same_and_nothing_that_the_document_does_not(client: httpx.AsyncClient) -> None:
    info = (await client.get("/openapi.json")).json()["info"]
    assert (await client.get("/")).json() == {"name": info["title"], "version": info["version"], "links": LINKS}
    page = (await client.get("/", headers={"Accept": CHROME})).text
    assert info["title"] in page
    assert f"version {info['version']}" in page
    assert re.findall('<a href="([^"]*)">', page) == list(LINKS.values())
    for link in LINKS.values():
        assert (await client.get(link)).status_code == 200


async def test_the_page_loads_nothing_and_its_policy_allows_its_style_only(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Accept": CHROME})
    policy = response.headers["content-security-policy"]
    [style] = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script|src=|url\(|style=|\son\w+=", response.text)


async def test_another_method_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/")
    assert_problem(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("accept", [CHROME, JSON])
async def test_is_not_found_when_it_is_off(settings: Settings, accept: str) -> None:
    async with serving(create_app(settings.model_copy(update={"root_page": False}), resources=[])) as client:
        problem = assert_problem(await client.get("/", headers={"Accept": accept}), 404)
        assert problem["detail"] == "There is nothing at this path."


async def test_names_are_escaped_and_links_have_the_root_path_and_the_repository(settings: Settings) -> None:
    options: dict[str, Any] = {
        "title": "<b>A & B</b>",
        "version": '"><script>',
        "summary": "<i>",
        "openapi_external_docs": {"url": "https://git.example.com/team/service?a=1&b"},
    }
    app = create_app(settings.model_copy(update={"root_path": "/service"}), resources=[], **options)
    async with serving(app) as client:
        page = (await client.get("/service/", headers={"Accept": CHROME})).text
        assert not re.search("<b>|<i>|<script>", page)
        assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page
        assert 'href="https://git.example.com/team/service?a=1&amp;b"' in page
        links = (await client.get("/")).json()["links"]
    assert links == {name: f"/service{link}" for name, link in LINKS.items()} | {
        "repository": "https://git.example.com/team/service?a=1&b"
    }


async def test_a_repository_is_linked_only_on_the_web(settings: Settings) -> None:
    app = create_app(settings, resources=[], openapi_external_docs={"url": "javascript:alert(1)"})
    async with serving(app) as client:
        assert (await client.get("/")).json()["links"] == LINKS


def _by_decorator(app: Application) -> None:
    @app.get("/")
    async def own() -> str:
        return "own"


def _by_router(app: Application) -> None:
    router = APIRouter()
    router.add_api_route("/", lambda: "own")
    app.include_router(router)


def _by_mount(app: Application) -> None:
    app.router.routes.append(Mount("/", PlainTextResponse("own")))


@pytest.mark.parametrize("add", [_by_decorator, _by_router, _by_mount])
@pytest.mark.parametrize("fast", [pytest.param(True, marks=pytest.mark.fast), False])
async def test_the_services_own_replaces_it(settings: Settings, add: Any, fast: bool) -> None:
    app = create_app(settings, resources=[], fast=fast)
    add(app)
    async with serving(app) as client:
        response = await client.get("/", headers={"Accept": CHROME})
        assert (response.status_code, response.text.strip('"')) == (200, "own")
