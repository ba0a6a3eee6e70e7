"""A route that is not plain is found without FastAPI's search. Everything after that is as with FastAPI alone."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Cookie, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from groundwork.dev.routes import lines_of
from groundwork.fast.fast_routes import FastRoutes
from groundwork.fast.found_route import FoundRoute
from groundwork.http.routing import JSONRoute, router_of

pytestmark = pytest.mark.fast

Calls = list[str]


class Page(BaseModel):
    limit: int = 3


class Refusal(Exception):
    pass


def _configure(app: FastAPI, calls: Calls) -> None:
    async def opened(request: Request, kind: str = "") -> AsyncIterator[str]:
        calls.append("opened")
        try:
            yield "opened"
        except Refusal:
            calls.append("refused inside")
            if kind == "swallowed":
                return
            raise
        finally:
            calls.append(f"closed {request.scope['path_params']}")

    async def on_refusal(request: Request, error: Exception) -> Response:
        return JSONResponse({"refused": request.scope["route"].path, "kind": request.query_params.get("kind")}, 418)

    async def on_invalid(request: Request, error: Any) -> Response:
        return JSONResponse({"errors": str(error), "body": repr(error.body)}, 422)

    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(RequestValidationError, on_invalid)

    async def opens(name: str, request: Request, opened: Annotated[str, Depends(opened)], kind: str = "") -> Any:
        calls.append("handler")
        if kind in ("refused", "swallowed"):
            raise Refusal
        if kind == "http":
            raise HTTPException(409, "http", headers={"x-kind": "http"})
        if kind == "else":
            raise KeyError(kind)
        scope = request.scope
        context = scope.get("fastapi", {}).get("effective_route_context")
        url = request.url_for(scope["route"].name, **scope["path_params"])
        return [name, opened, scope["route"].path, scope["endpoint"].__name__, getattr(context, "path", None), str(url)]

    async def streams(name: str, opened: Annotated[str, Depends(opened)], broken: bool = False) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield name
            calls.append("streamed")
            if broken:
                raise Refusal

        return StreamingResponse(parts())

    async def pages(name: str, page: Annotated[Page, Query()]) -> Page:
        return page

    async def visits(name: str, seen: Annotated[int, Cookie()] = 1) -> int:
        return seen

    async def several(name: str, tags: Annotated[list[str], Query()]) -> list[str]:
        return [name, *tags]

    async def posts(name: str, one: Annotated[Page, Body()], other: Annotated[int, Body()]) -> Any:
        return [name, one, other]

    inner = APIRouter(prefix="/inner")
    strict = APIRouter(prefix="/strict", route_class=JSONRoute)
    for router in (app.router, inner, strict):
        for endpoint in (opens, streams, pages, visits, several):
            router.get(f"/{{name}}/{endpoint.__name__}")(endpoint)
        router.post("/{name}/posts")(posts)
    inner.include_router(strict, prefix="/below")
    app.include_router(inner)
    own = router_of("things")
    own.get("/pages")(pages_of_user)
    app.include_router(own)


async def pages_of_user(user_id: str, page: Annotated[Page, Query()]) -> list[Any]:
    return [user_id, page]


_PREFIXES = ("", "/inner", "/inner/below/strict")
_PATHS = [
    *(f"/opens{query}" for query in ("", "?kind=refused", "?kind=swallowed", "?kind=http", "?kind=else")),
    *("/streams", "/streams?broken=1", "/streams?broken=x"),
    *("/pages", "/pages?limit=7", "/pages?limit=x", "/visits", "/several", "/several?tags=a&tags=b"),
]
_REQUESTS: list[tuple[str, str, bytes | None, str]] = [
    *(("GET", f"{prefix}/a{path}", None, "") for prefix in _PREFIXES for path in _PATHS),
    *(("GET", path, None, "") for path in ("//opens", "/inner//opens", "/inner/a/opens/", "/inner/a%0A/opens")),
    *(("GET", f"/api/{name}/things/pages", None, "") for name in ("alice", "a%2Fb", "")),
    *(("DELETE", f"{prefix}/a/opens", None, "") for prefix in _PREFIXES),
    *(
        ("POST", f"{prefix}/a/posts", body, "application/json")
        for prefix in _PREFIXES
        for body in (b'{"one": {"limit": 1}, "other": 2}', b'{"one": NaN}', b"", b"[")
    ),
]


async def _answers(app: FastAPI, calls: Calls) -> list[Any]:
    answers = []
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies={"seen": "7"}) as client:
        for method, path, body, content_type in _REQUESTS:
            calls.clear()
            headers = {"content-type": content_type} if content_type else {}
            answer = await client.request(method, path, content=body, headers=headers)
            answers.append((method, path, body, answer.status_code, answer.headers.raw, answer.content, [*calls]))
    return answers


async def test_a_found_route_answers_as_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    enter: Callable[..., bool] = FoundRoute.enter_route

    def spied(route: Any, *arguments: Any) -> bool:
        found.append(route.endpoint.__name__)
        return enter(route, *arguments)

    monkeypatch.setattr(FoundRoute, "enter_route", spied)
    stock, short = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    short.add_middleware(FastRoutes)
    calls: Calls = []
    _configure(stock, calls)
    expected = await _answers(stock, calls)
    assert not found
    calls = []
    _configure(short, calls)
    assert await _answers(short, calls) == expected
    assert set(found) == {"opens", "streams", "pages", "visits", "several", "posts", "pages_of_user"}
    # The requests must reach their handlers. Otherwise nothing useful is compared.
    assert {answer[3] for answer in expected} >= {200, 404, 405, 409, 418, 422, 500}


def test_the_list_of_routes_says_why_a_route_is_not_plain() -> None:
    app = FastAPI(openapi_url=None)
    app.add_middleware(FastRoutes)
    _configure(app, [])

    @app.get("/plain/{name}")
    async def plain(name: str) -> str:
        return name

    lines = {line.split()[1]: line for line in lines_of(app)}
    assert lines["/plain/{name}"].endswith("an earlier route could answer some of its requests")
    assert "`yield`" in lines["/{name}/opens"]
    assert "a cookie" in lines["/{name}/visits"]
    assert "its body" in lines["/inner/{name}/posts"]


def test_the_services_own_routes_are_listed_as_plain(app: FastAPI) -> None:
    lines = [line for line in lines_of(app) if "{user_id}" in line]
    assert len(lines) == 6
    assert all(line.endswith("  plain") for line in lines)
