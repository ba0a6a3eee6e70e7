"""What is at `/`, at `/docs/`, and at a path with a slash too much."""

import re

import httpx
import pytest

from app.core.config import Settings
from app.main import create_app
from groundwork.testing.http import client_of
from groundwork.tests.http import ALICE, MISSING_ID, assert_problem

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_program_gets_json(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    document = (await client.get("/openapi.json")).json()["info"]
    about = {name: document[name] for name in ("title", "version", "summary")}
    links = {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health/ready"}
    assert response.json() == about | links
    assert response.headers["vary"] == "Accept"


async def test_a_browser_gets_a_page_whose_links_work(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers=BROWSER)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    links = re.findall('href="([^"]+)"', response.text)
    assert links == ["/docs", "/openapi.json", "/health/ready"]
    for link in links:
        assert (await client.get(link)).is_success
    assert "script" not in response.text


async def test_head_gets_the_same_headers(client: httpx.AsyncClient) -> None:
    response = await client.head("/")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == (await client.get("/")).headers["content-length"]


async def test_what_the_application_says_of_itself_is_escaped(settings: Settings) -> None:
    app = create_app(settings)
    app.title, app.contact = "<b>&", {"url": 'https://x.example/"><script>'}
    async with app.router.lifespan_context(app), client_of(app) as client:
        page = (await client.get("/", headers=BROWSER)).text
    assert "<h1>&lt;b&gt;&amp; " in page
    assert 'href="https://x.example/&quot;&gt;&lt;script&gt;"' in page


async def test_links_begin_with_the_root_path(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"root_path": "/service"}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/service/")).json()["documentation"] == "/service/docs"
        assert (await client.get("/service/docs/")).headers["location"] == "/service/docs"


async def test_without_the_setting_nothing_is_there(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"front_page": False}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert_problem(await client.get("/"), 404)


async def test_docs_with_a_slash_leads_to_docs(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs/")
    assert (response.status_code, response.headers["location"]) == (308, "/docs")


@pytest.mark.parametrize("path", [f"{ALICE}/", f"{ALICE}/{MISSING_ID}/", "/health/ready/", f"{ALICE}///"])
async def test_a_slash_too_much_is_said(client: httpx.AsyncClient, path: str) -> None:
    problem = assert_problem(await client.get(path), 404)
    assert problem["detail"] == "There is nothing at this path: leave out the slash at its end."


@pytest.mark.parametrize("path", ["/nothing/", "/api/alice/", "//evil.example/", "/nothing"])
async def test_other_paths_get_the_usual_answer(client: httpx.AsyncClient, path: str) -> None:
    problem = assert_problem(await client.get(f"http://test{path}"), 404)
    assert problem["detail"] == "There is nothing at this path."
