"""Plain routes answer as FastAPI's own routing does: the same bytes, and the same order of dependencies and errors."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.security import APIKeyHeader, HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

from groundwork.fast.fast_routes import FastRoutes
from groundwork.fast.plain_route import PlainRoute
from groundwork.http.routing import JSONRoute

pytestmark = pytest.mark.fast

Sent = tuple[str, str, bytes | None, dict[str, str]]
Calls = list[str]
SETUPS: dict[str, Callable[[FastAPI, Calls], list[Sent]]] = {}
_VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


class Item(BaseModel):
    name: str = "x"
    note: str | None = None
    other: int = Field(default=7, serialization_alias="another")


class Refusal(Exception):
    pass


def setup(function: Callable[[FastAPI, Calls], list[Sent]]) -> Callable[[FastAPI, Calls], list[Sent]]:
    SETUPS[function.__name__.replace("_", " ")] = function
    return function


def get(*paths: str, **headers: str) -> list[Sent]:
    return [("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()}) for path in paths]


@setup
def dependencies_of_dependencies(app: FastAPI, calls: Calls) -> list[Sent]:
    async def first() -> str:
        calls.append("first")
        return "1"

    async def second(one: Annotated[str, Depends(first)], request: Request) -> str:
        calls.append(f"second {one} {request.path_params}")
        return f"2{one}"

    def third(two: Annotated[str, Depends(second)], one: Annotated[str, Depends(first)]) -> str:
        calls.append(f"third {two} {one} {threading.current_thread() is threading.main_thread()}")
        return f"3{two}"

    async def fresh(one: Annotated[str, Depends(first, use_cache=False)]) -> str:
        calls.append(f"fresh {one}")
        return one

    router = APIRouter(dependencies=[Depends(third), Depends(fresh)])

    @router.get("/all/{name}", dependencies=[Depends(fresh, use_cache=False)])
    async def every(
        name: str,
        two: Annotated[str, Depends(second)],
        again: Annotated[str, Depends(second, use_cache=False)],
        one: Annotated[str, Depends(first)],
        new: Annotated[str, Depends(fresh)],
    ) -> Item:
        calls.append("handler")
        return Item(name=f"{name} {two} {again} {one} {new}")

    app.include_router(router, dependencies=[Depends(second)])
    return get("/all/a", "/all/b")


@setup
def parameters_of_dependencies(app: FastAPI, calls: Calls) -> list[Sent]:
    async def page(limit: Annotated[int, Query(le=9)] = 3, cursor: str | None = None) -> str:
        calls.append("page")
        return f"{limit} {cursor}"

    async def owner(name: str, x_owner: Annotated[int, Header()], page: Annotated[str, Depends(page)]) -> str:
        calls.append("owner")
        return f"{name} {x_owner} {page}"

    async def signed_in(request: Request) -> None:
        calls.append("signed in")
        if "x-out" in request.headers:
            raise HTTPException(401, "out")

    @app.get("/of/{name}", dependencies=[Depends(signed_in)])
    async def of(name: str, owner: Annotated[str, Depends(owner)], limit: int = 1) -> Item:
        calls.append("handler")
        return Item(name=f"{name} {owner} {limit}")

    paths = ("/of/a", "/of/a?limit=7&cursor=", "/of/a?limit=10", "/of/a?limit=x&limit=2", "/of/a?limit=2&limit=x")
    return [
        *get(*paths, x_owner="7"),
        *get(*paths, x_owner="x"),
        *get(*paths),
        *get(*paths, x_owner="x", x_out="1"),
    ]


@setup
def an_invalid_body_and_dependencies(app: FastAPI, calls: Calls) -> list[Sent]:
    app.router.route_class = JSONRoute

    async def key(x_key: Annotated[str, Header(min_length=2)] = "none") -> str:
        calls.append("key")
        if x_key == "stop":
            raise Refusal
        return x_key

    async def on_refusal(request: Request, error: Exception) -> Response:
        return JSONResponse({"body": (await request.body()).decode()}, 418)

    app.add_exception_handler(Refusal, on_refusal)

    @app.post("/item", status_code=202)
    async def item(item: Item, key: Annotated[str, Depends(key)], note: Annotated[int, Query()] = 1) -> Item:
        calls.append("handler")
        return Item(name=f"{item.name} {key} {note}")

    bodies = (b'{"name": "a"}', b'{"name": 7}', b"[", b"")
    headers: tuple[dict[str, str], ...] = ({}, {"x-key": "a"}, {"x-key": "ab"}, {"x-key": "stop"})
    return [
        ("POST", path, body, {"content-type": "application/json", **given})
        for path in ("/item", "/item?note=x")
        for body in bodies
        for given in headers
    ]


@setup
def headers(app: FastAPI, calls: Calls) -> list[Sent]:
    @app.get("/headers")
    async def headers(
        user_agent: Annotated[str, Header()],
        number: Annotated[int | None, Header(alias="X-Number")] = None,
        under_scored: Annotated[str, Header(convert_underscores=False)] = "none",
        accept: Annotated[str | None, Header(max_length=20)] = None,
    ) -> Item:
        return Item(name=f"{user_agent} {number} {under_scored} {accept}")

    given: tuple[dict[str, str], ...] = ({}, {"x-number": "7"}, {"X-NUMBER": "x"}, {"under_scored": "a"})
    return [("GET", "/headers", None, headers) for headers in (*given, {"x-number": ""}, {"accept": "a" * 21})]


@setup
def security_schemes(app: FastAPI, calls: Calls) -> list[Sent]:
    key, bearer, oauth = APIKeyHeader(name="x-key"), HTTPBearer(), OAuth2PasswordBearer(tokenUrl="/token")

    @app.get("/key")
    async def by_key(key: Annotated[str, Depends(key)]) -> Item:
        return Item(name=key)

    @app.get("/bearer")
    async def by_bearer(bearer: Annotated[Any, Depends(bearer)]) -> Item:
        return Item(name=repr(bearer))

    @app.get("/oauth")
    async def by_oauth(token: Annotated[str, Depends(oauth)]) -> Item:
        return Item(name=token)

    @app.get("/connection")
    async def connection(connection: HTTPConnection, request: Request) -> Item:
        return Item(name=f"{connection.url.path} {connection is request}")

    paths = ("/key", "/bearer", "/oauth", "/connection")
    return [*get(*paths), *get(*paths, x_key="a", authorization="Bearer a"), *get(*paths, authorization="Basic a")]


@setup
def what_dependencies_write_into_the_answer(app: FastAPI, calls: Calls) -> list[Sent]:
    async def first(response: Response) -> None:
        response.headers["x-first"] = "1"
        response.headers["x-both"] = "first"

    def second(response: Response, status: int = 201) -> None:
        response.status_code = status
        response.headers["x-both"] = "second"
        response.set_cookie("name", "value")

    @app.get("/item", dependencies=[Depends(first), Depends(second)])
    async def item() -> Item:
        return Item()

    @app.get("/with/{kind}", dependencies=[Depends(first)], response_model_exclude_none=True, status_code=203)
    async def with_own(kind: str, response: Response, _: Annotated[None, Depends(second)]) -> Any:
        if kind == "raises":
            raise HTTPException(409, "raises")
        response.headers.append("x-both", "handler")
        return PlainTextResponse("text") if kind == "text" else {"kind": kind}

    return get(
        "/item", "/item?status=404", "/item?status=204", "/with/a", "/with/text", "/with/raises", "/with/b?status=0"
    )


@setup
def background_tasks(app: FastAPI, calls: Calls) -> list[Sent]:
    async def fail(kind: str) -> None:
        calls.append(f"fails {kind}")
        raise HTTPException(400, "late") if kind == "http" else KeyError(kind)

    async def first(tasks: BackgroundTasks) -> None:
        tasks.add_task(calls.append, "of the dependency")

    @app.get("/model", dependencies=[Depends(first)])
    async def model(tasks: BackgroundTasks, kind: str = "") -> Item:
        tasks.add_task(calls.append, "of the handler")
        if kind:
            tasks.add_task(fail, kind)
        tasks.add_task(calls.append, "the last")
        calls.append("handler")
        return Item()

    @app.get("/text", dependencies=[Depends(first)])
    def text(own: bool = False) -> Response:
        tasks = BackgroundTasks()
        tasks.add_task(calls.append, "of the answer")
        return PlainTextResponse("text", background=tasks if own else None)

    @app.get("/none", dependencies=[Depends(first)], status_code=204)
    async def none() -> None:
        calls.append("handler")

    return get("/model", "/model?kind=http", "/model?kind=key", "/text", "/text?own=true", "/none")


@setup
def functions_without_async(app: FastAPI, calls: Calls) -> list[Sent]:
    class Class:
        def __init__(self, name: str = "class") -> None:
            self.name = f"{name} {threading.current_thread() is threading.main_thread()}"

    def variable() -> str:
        _VARIABLE.set("set in a thread")
        return _VARIABLE.get()

    @app.get("/item/{name}")
    def item(name: str, response: Response, found: Annotated[Class, Depends()], limit: int = 1) -> Item:
        calls.append(f"{threading.current_thread() is threading.main_thread()}")
        response.headers["x-name"] = "a"
        if name == "refused":
            raise HTTPException(404, "refused")
        return Item(name=f"{name} {found.name} {limit}")

    @app.get("/variable")
    def of_variable(name: Annotated[str, Depends(variable)]) -> dict[str, str]:
        return {"in": _VARIABLE.get(), "name": name}

    return get("/item/a", "/item/a?name=b&limit=2", "/item/a?limit=x", "/item/refused", "/variable")


@setup
def results_that_are_not_the_model(app: FastAPI, calls: Calls) -> list[Sent]:
    async def on_invalid(request: Request, error: Any) -> Response:
        return JSONResponse({"errors": str(error), "body": repr(error.body)}, 500)

    app.add_exception_handler(ResponseValidationError, on_invalid)

    @app.get("/less", response_model=Item, response_model_exclude_unset=True)
    async def less() -> Any:
        return {"name": 7}

    @app.get("/thread")
    def thread() -> Item:
        return {"name": 7}  # type: ignore[return-value]

    @app.get("/unknown", response_model=None)
    async def unknown() -> Any:
        return object()

    return get("/less", "/thread", "/unknown")


@setup
def response_models(app: FastAPI, calls: Calls) -> list[Sent]:
    async def made() -> Any:
        return {"name": "a", "note": None}

    options: dict[str, dict[str, Any]] = {
        "none": {"response_model_exclude_none": True},
        "unset": {"response_model_exclude_unset": True},
        "defaults": {"response_model_exclude_defaults": True},
        "include": {"response_model_include": {"name", "other"}},
        "exclude": {"response_model_exclude": {"note"}},
        "names": {"response_model_by_alias": False},
        "class": {"response_class": JSONResponse},
        "status": {"response_model_exclude_none": True, "status_code": 201},
    }
    for name, given in options.items():
        app.get(f"/{name}", response_model=Item, **given)(made)
        app.get(f"/{name}/thread", response_model=Item, **given)(lambda: Item(name="thread"))
    return get(*(f"/{name}{rest}" for name in options for rest in ("", "/thread")))


@setup
def answers_without_a_model(app: FastAPI, calls: Calls) -> list[Sent]:
    @app.get("/json", response_model=None)
    async def json() -> Any:
        return {"€": [1.5, None, {"item": Item()}]}

    @app.get("/nan", response_model=None)
    async def nan() -> Any:
        return float("nan")

    @app.get("/none/{status}", status_code=204)
    async def none(status: int, response: Response) -> None:
        response.status_code = status

    @app.get("/html", response_class=HTMLResponse)
    async def html() -> str:
        return "<p>"

    @app.get("/elsewhere", response_class=RedirectResponse, status_code=302)
    async def elsewhere() -> str:
        return "/html"

    @app.get("/elsewhere/default", response_class=RedirectResponse)
    async def elsewhere_by_default() -> str:
        return "/html"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]), media_type="text/plain")

    return get("/json", "/nan", "/none/0", "/none/200", "/html", "/elsewhere", "/elsewhere/default", "/stream")


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the routes that answered a request without FastAPI's own routing."""
    paths: list[str] = []
    respond = PlainRoute.response

    async def spied(route: Any, *arguments: Any) -> Any:
        paths.append(route.path_format)
        return await respond(route, *arguments)

    monkeypatch.setattr(PlainRoute, "response", spied)
    return paths


async def _answers(app: FastAPI, sent: list[Sent], calls: Calls) -> list[Any]:
    answers = []
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for method, path, body, headers in sent:
            calls.clear()
            answer = await client.request(method, path, content=body, headers=headers)
            answers.append((path, body, headers, answer.status_code, answer.headers.raw, answer.content, [*calls]))
    return answers


@pytest.mark.parametrize("configure", SETUPS.values(), ids=SETUPS)
async def test_a_plain_route_answers_as_fastapi(
    handled: list[str], configure: Callable[[FastAPI, Calls], list[Sent]]
) -> None:
    # Without the document, FastAPI adds no routes of its own.
    stock, short = FastAPI(openapi_url=None), FastAPI(openapi_url=None)
    short.add_middleware(FastRoutes)
    calls: Calls = []
    expected = await _answers(stock, configure(stock, calls), calls)
    assert not handled
    calls = []
    assert await _answers(short, configure(short, calls), calls) == expected
    assert set(handled) == {getattr(route, "path_format", None) for route in _routes(short)}


def _routes(app: FastAPI) -> list[Any]:
    return [
        each for route in app.routes for each in getattr(getattr(route, "original_router", None), "routes", [route])
    ]
