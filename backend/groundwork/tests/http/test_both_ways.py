"""Whatever a team does with FastAPI has the same effect with the fast routes as without them, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
)
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import Response as StarletteResponse
from starlette.routing import Host, Match, Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.fast.fast_routes import FastRoutes
from groundwork.fast.plain_route import PlainRoute
from groundwork.http.routing import JSONRoute
from groundwork.ids import Id

pytestmark = pytest.mark.fast

JSON = {"content-type": "application/json"}
Requests = list[tuple[str, str, bytes | None]]
SETUPS: dict[str, Callable[[FastAPI], Requests]] = {}


class Item(BaseModel):
    name: str = ""


class Refusal(Exception):
    """An error of the team's own."""


def setup(function: Callable[[FastAPI], Requests]) -> Callable[[FastAPI], Requests]:
    SETUPS[function.__name__.replace("_", " ")] = function
    return function


def get(*paths: str) -> Requests:
    return [("GET", path, None) for path in paths]


def add_item(app: FastAPI | APIRouter, path: str = "/item", **options: Any) -> None:
    @app.get(path, **options)
    async def item() -> Item:
        return Item(name="item")


class Refusing(APIRoute):
    """FastAPI's documented hook, used to answer in the handler's place."""

    def get_route_handler(self) -> Any:
        async def refuse(request: Request) -> Response:
            return PlainTextResponse("refused", 403)

        return refuse


class RefusingJSON(JSONRoute):
    def get_route_handler(self) -> Any:
        return Refusing.get_route_handler(self)  # type: ignore[arg-type]


class ByHeader(APIRoute):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return (match, child) if dict(scope["headers"]).get(b"x-version") == b"2" else (Match.NONE, {})


class Everything(APIRoute):
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {}}


class Handling(APIRoute):
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("handled", 403)(scope, receive, send)


class Deny:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await PlainTextResponse("denied", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@setup
def a_route_class_that_refuses(app: FastAPI) -> Requests:
    router = APIRouter(prefix="/router", route_class=Refusing)
    add_item(router)
    app.include_router(router)
    app.router.route_class = RefusingJSON
    add_item(app)
    return get("/router/item", "/item")


async def _path(request: Request) -> str:
    return request.url.path


async def _path_by_name(*, request: Request) -> str:
    return request.url.path


@wraps(_path)
async def _path_by_any_name(**arguments: Any) -> str:
    return await _path(**arguments)


@setup
def dependencies_that_take_the_request(app: FastAPI) -> Requests:
    @app.get("/item")
    async def item(
        first: Annotated[str, Depends(_path)],
        second: Annotated[str, Depends(_path_by_name)],
        third: Annotated[str, Depends(_path_by_any_name)],
    ) -> Item:
        return Item(name=f"{first} {second} {third}")

    return get("/item")


@setup
def a_route_whose_hook_is_replaced(app: FastAPI) -> Requests:
    router = APIRouter(prefix="/router")
    add_item(router)
    route: Any = router.routes[0]
    route.get_route_handler = partial(Refusing.get_route_handler, route)
    app.include_router(router)
    return get("/router/item")


@setup
def a_route_whose_application_is_wrapped(app: FastAPI) -> Requests:
    add_item(app)
    route: Any = app.router.routes[-1]
    route.app = Deny(route.app)
    return get("/item")


@setup
def a_route_class_that_matches_by_a_header(app: FastAPI) -> Requests:
    app.router.route_class = ByHeader
    add_item(app)
    app.router.route_class = APIRoute
    add_item(app, response_model=None)
    return get("/item")


@setup
def an_earlier_route_class_that_matches_everything(app: FastAPI) -> Requests:
    app.router.route_class = Everything
    app.get("/elsewhere")(_text)
    app.router.route_class = APIRoute
    add_item(app)
    return get("/item", "/nothing")


@setup
def a_route_class_that_handles(app: FastAPI) -> Requests:
    app.router.route_class = Handling
    add_item(app)
    return get("/item")


async def _text() -> str:
    return "text"


@setup
def a_middleware_given_to_the_application(app: FastAPI) -> Requests:
    """This middleware is closer to the routes than those that are added later."""
    app.user_middleware.append(Middleware(Deny))
    add_item(app)
    return get("/item")


@setup
def a_middleware_of_the_router(app: FastAPI) -> Requests:
    app.router.middleware_stack = Deny(app.router.middleware_stack)
    add_item(app)
    return get("/item")


@setup
def middleware_around(app: FastAPI) -> Requests:
    @app.middleware("http")
    async def mark(request: Request, call_next: Any) -> Any:
        request.state.mark = "marked"
        response = await call_next(request)
        response.headers["x-route"] = request.scope["route"].path
        return response

    class Second(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Any:
            await request.body()
            return await call_next(request)

    app.add_middleware(Second)
    app.router.route_class = JSONRoute

    @app.post("/item")
    async def item(item: Item, request: Request) -> Item:
        return Item(name=f"{item.name} {request.state.mark}")

    return [("POST", "/item", b'{"name": "x"}')]


async def _raise(request: Request) -> None:
    kind = request.path_params["kind"]
    raise {"http": HTTPException(404, "gone"), "own": Refusal("own"), "else": KeyError("else")}[kind]


@setup
def errors_of_a_dependency(app: FastAPI) -> Requests:
    app.add_exception_handler(Refusal, _on_error)
    app.add_exception_handler(404, _on_error)

    @app.get("/{kind}", dependencies=[Depends(_raise)])
    async def item(kind: str) -> Item:
        return Item(name=kind)

    return get("/http", "/own", "/else")


async def _on_error(request: Request, error: Any) -> Response:
    body = (await request.body()).decode()
    return JSONResponse({"error": type(error).__name__, "path": request.scope["route"].path, "body": body}, 418)


def _on_error_in_a_thread(request: Request, error: Any) -> Response:
    return PlainTextResponse(f"{request.path_params} {error}", 418)


@setup
def an_error_handler_reads_the_body(app: FastAPI) -> Requests:
    app.add_exception_handler(Refusal, _on_error)
    app.router.route_class = JSONRoute

    @app.post("/item")
    async def item(item: Item) -> Item:
        raise Refusal

    @app.post("/asking")
    async def asking(item: Item, request: Request) -> Item:
        assert await request.json() == item.model_dump()
        raise Refusal

    @app.get("/none")
    async def none(request: Request) -> Item:
        await request.body()
        raise Refusal

    return [("POST", "/item", b'{"name": "x"}'), ("POST", "/asking", b'{"name": "x"}'), ("GET", "/none", b"x")]


@setup
def an_error_handler_that_is_no_coroutine(app: FastAPI) -> Requests:
    app.add_exception_handler(Refusal, _on_error_in_a_thread)
    app.add_exception_handler(Exception, _on_error_in_a_thread)

    @app.get("/{name}")
    async def item(name: str) -> Item:
        raise Refusal(name) if name == "own" else ValueError(name)

    return get("/own", "/else")


@setup
def a_result_that_is_not_the_model(app: FastAPI) -> Requests:
    async def on_invalid(request: Request, error: Any) -> Response:
        return JSONResponse({"errors": str(error), "body": repr(error.body)}, 500)

    app.add_exception_handler(ResponseValidationError, on_invalid)

    @app.get("/items/{name}")
    async def items(name: str, request: Request) -> list[Item]:
        return [{"name": 7}]  # type: ignore[list-item]

    return get("/items/a")


@setup
def statuses_of_the_handlers_choice(app: FastAPI) -> Requests:
    @app.get("/{status}")
    async def item(status: int, response: Response) -> Item:
        assert not any((response.status_code, response.body, response.background))
        response.status_code = status
        response.set_cookie("name", "value")
        response.headers["x-name"] = "value"
        return Item(name="x")

    return get("/201", "/204", "/205", "/304", "/404", "/500")


@setup
def responses(app: FastAPI) -> Requests:
    ran: list[str] = []

    async def stream() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def broken() -> AsyncIterator[bytes]:
        raise HTTPException(409, "broken")
        yield b""

    class Loud(Response):
        def render(self, content: Any) -> bytes:
            return str(content).upper().encode()

    class Failing(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise HTTPException(410, "failing")

    answers: dict[str, Callable[[], Any]] = {
        "text": lambda: PlainTextResponse("text", 202),
        "html": lambda: HTMLResponse("<p>"),
        "json": lambda: JSONResponse({"a": 1}, headers={"x-name": "a"}),
        "starlette": lambda: StarletteResponse(b"x", 203),
        "stream": lambda: StreamingResponse(stream()),
        "broken": lambda: StreamingResponse(broken()),
        "loud": lambda: Loud("loud"),
        "failing": Failing,
        "background": lambda: Response("x", background=BackgroundTask(ran.append, "ran")),
        "ran": lambda: PlainTextResponse(repr(ran)),
    }

    @app.get("/{name}", response_model=Item)
    async def item(name: str) -> Any:
        return answers[name]()

    return get(*(f"/{name}" for name in answers))


@setup
def background_tasks(app: FastAPI) -> Requests:
    ran: list[str] = []

    @app.get("/item")
    async def item(tasks: BackgroundTasks) -> Item:
        tasks.add_task(ran.append, "ran")
        return Item(name=repr(ran))

    return get("/item", "/item")


class Dependency:
    def __init__(self, name: str = "default") -> None:
        self.name = name

    async def __call__(self, request: Request) -> str:
        return f"{self.name} {request.url.path}"


class Counter:
    def __init__(self) -> None:
        self.count = 0

    async def next(self) -> int:
        self.count += 1
        return self.count


def _logged(function: Any) -> Any:
    @wraps(function)
    async def wrapper(*arguments: Any, **options: Any) -> Any:
        return await function(*arguments, **options)

    return wrapper


@setup
def dependencies(app: FastAPI) -> Requests:
    counter = Counter()

    async def scoped(scopes: SecurityScopes) -> str:
        return scopes.scope_str

    async def path(request: Request) -> str:
        return f"{request.path_params} {request.scope['route'].path} {request.scope['endpoint'].__name__}"

    async def cleaned() -> AsyncIterator[str]:
        yield "cleaned"

    @app.get("/class")
    async def of_class(found: Annotated[Dependency, Depends()]) -> Item:
        return Item(name=found.name)

    @app.get("/instance")
    async def of_instance(name: Annotated[str, Depends(Dependency("alias"))]) -> Item:
        return Item(name=name)

    @app.get("/method")
    async def of_method(count: Annotated[int, Depends(counter.next)]) -> Item:
        return Item(name=str(count))

    @app.get("/uncached", dependencies=[Depends(counter.next, use_cache=False), Depends(counter.next, use_cache=False)])
    async def uncached(count: Annotated[int, Depends(counter.next, use_cache=False)]) -> Item:
        return Item(name=str(count))

    @app.get("/cached", dependencies=[Depends(counter.next), Depends(counter.next)])
    async def cached(count: Annotated[int, Depends(counter.next)]) -> Item:
        return Item(name=str(count))

    @app.get("/scopes")
    async def scopes(scope: Annotated[str, Security(scoped, scopes=["a", "b"])]) -> Item:
        return Item(name=scope)

    @app.get("/path/{one}/{two}")
    async def of_path(text: Annotated[str, Depends(path)]) -> Item:
        return Item(name=text)

    @app.get("/alias/{one}")
    async def aliased(request: Request, name: Annotated[str, Path(alias="one")]) -> Item:
        return Item(name=f"{name} {request.path_params}")

    @app.get("/query")
    async def query(name: Annotated[str, Query(alias="n")] = "none") -> Item:
        return Item(name=name)

    @app.get("/yield")
    async def yielding(name: Annotated[str, Depends(cleaned)]) -> Item:
        return Item(name=name)

    @app.get("/wrapped")
    @_logged
    async def wrapped(name: str = "wrapped") -> Item:
        return Item(name=name)

    app.get("/partial", response_model=Item)(partial(of_method, 7))
    app.get("/callable", response_model=str)(Dependency("endpoint"))
    app.get("/bound", response_model=int)(counter.next)
    return get(
        *("/class", "/class?name=a", "/instance", "/method", "/uncached", "/cached", "/scopes", "/path/a/b"),
        *("/alias/a", "/query?n=a", "/query?name=a", "/query?n=", "/yield", "/wrapped", "/partial", "/callable"),
        *("/bound", "/query?n=a&n=b", "/query?n=%FF", "/query?n=a+b;c"),
    )


@setup
def dependencies_of_routers(app: FastAPI) -> Requests:
    counter = Counter()
    inner = APIRouter(prefix="/inner/{one}", dependencies=[Depends(counter.next)])
    outer = APIRouter(prefix="/outer/{two}", dependencies=[Depends(counter.next)])

    @inner.get("/item")
    async def item(request: Request) -> Item:
        url = request.url_for("item", one="x", two="y", three="z")
        return Item(name=f"{counter.count} {request.path_params} {request.scope['route'].path} {url}")

    outer.include_router(inner)
    app.include_router(outer, prefix="/v2/{three}", dependencies=[Depends(counter.next)])
    return get("/v2/a/outer/b/inner/c/item", "/v2/a/outer/b/inner//item")


@setup
def bodies(app: FastAPI) -> Requests:
    app.get("/none")(_text)
    for name, class_ in (("plain", APIRoute), ("strict", JSONRoute)):
        app.router.route_class = class_

        @app.post(f"/{name}/item")
        async def item(item: Item) -> Item:
            return item

        @app.post(f"/{name}/embedded")
        async def embedded(item: Annotated[Item, Body(embed=True)]) -> Item:
            return item

        @app.post(f"/{name}/maybe")
        async def maybe(item: Item | None = None) -> Item:
            return item or Item(name="none")

        @app.post(f"/{name}/any")
        async def anything(value: Annotated[Any, Body()]) -> str:
            return repr(value)

        @app.post(f"/{name}/two")
        async def two(one: Item, other: Annotated[int, Body()]) -> Item:
            return Item(name=f"{one.name} {other}")

    values = [b'{"name": "x"}', b'{"item": {"name": "x"}}', b"null", b"", b"NaN", b"[1e400, -0, 1.0]", b"[" * 300]
    values += [b"9" * 5000, '{"name": "x"}'.encode("utf-16"), b'\xef\xbb\xbf{"name": "x"}', b'{"name": "\\ud800"}']
    values += [b'{"name": "a", "name": "b"}', b'{"one": {"name": "x"}, "other": 7}', b"123456789012345678901234567890"]
    kinds = ["item", "embedded", "maybe", "any", "two"]
    return [("POST", f"/{way}/{kind}", value) for way in ("plain", "strict") for kind in kinds for value in values]


@setup
def default_response_classes(app: FastAPI) -> Requests:
    app.router.default_response_class = PlainTextResponse
    app.get("/app", response_model=str)(_text)
    app.get("/own", response_model=str, response_class=HTMLResponse)(_text)
    router = APIRouter(prefix="/router", default_response_class=HTMLResponse)
    router.get("/item", response_model=str)(_text)
    app.include_router(router)
    return get("/app", "/own", "/router/item")


@setup
def response_models(app: FastAPI) -> Requests:
    async def nothing() -> None:
        return None

    async def pair() -> dict[str, float]:
        return {"a": float("inf"), "\u20ac": 1}

    app.get("/none", response_model=None)(nothing)
    app.get("/null")(nothing)
    app.get("/pair")(pair)
    app.get("/described", responses={404: {"model": Item}, 200: {"model": Item}})(pair)
    app.get("/hidden", include_in_schema=False, deprecated=True)(pair)
    return get("/none", "/null", "/pair", "/described", "/hidden")


class Row(BaseModel):
    """A row with plain fields only, so that its JSON is written without pydantic."""

    id: Id
    text: str
    at: datetime | None


class NewerRow(Row):
    number: int = 7


@setup
def rows(app: FastAPI) -> Requests:
    plain = Row(id=UUID(int=7), text="x\u2028ü", at=datetime(2026, 11, 23, tzinfo=UTC))
    results: dict[str, Row] = {
        "plain": plain,
        "changed": plain.model_copy(update={"text": "changed", "at": None}),
        "elsewhere": plain.model_copy(update={"at": datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))}),
        "subclass": NewerRow(**vars(plain)),
    }

    @app.get("/rows")
    async def every() -> list[Row]:
        return list(results.values())

    @app.get("/rows/none")
    async def none() -> list[Row]:
        return []

    @app.get("/rows/dict", response_model=list[Row])
    async def as_dict() -> Any:
        return [vars(plain)]

    @app.get("/row/{name}")
    async def one(name: str) -> Row:
        return results[name]

    return get("/rows", "/rows/none", "/rows/dict", *(f"/row/{name}" for name in results))


@setup
def methods(app: FastAPI) -> Requests:
    add_item(app)
    app.api_route("/several", methods=["GET", "PUT", "OPTIONS", "HEAD"], response_model=str)(_text)
    each = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "TRACE", "PROPFIND"]
    return [(method, path, None) for method in each for path in ("/item", "/several", "/item/")]


@setup
def sub_applications(app: FastAPI) -> Requests:
    inner = FastAPI()
    inner.add_middleware(FastRoutes)
    inner.state.name = "inner"
    app.state.name = "outer"

    for each in (app, inner):

        @each.get("/item/{one}")
        async def item(one: str, request: Request) -> Item:
            return Item(name=f"{request.app.state.name} {request.path_params} {request.url_for('item', one='x')}")

    app.mount("/sub/{two}", inner)
    app.router.routes.append(Host("{host}.test", app=inner))
    return get("/item/a", "/sub/b/item/a", "/sub/b/nothing")


@setup
def hosts(app: FastAPI) -> Requests:
    inner = FastAPI()
    inner.add_middleware(FastRoutes)

    @inner.get("/item/{one}")
    async def item(one: str, request: Request) -> Item:
        return Item(name=str(request.path_params))

    app.router.routes.append(Host("{host}", app=inner))
    add_item(app, "/item/{one}")
    app.router.routes.append(Mount("", app=Router()))
    return get("/item/a")


@setup
def an_overriding_provider_of_the_routers_own(app: FastAPI) -> Requests:
    async def original() -> str:
        return "original"

    provider = FastAPI()
    provider.dependency_overrides = {original: lambda: "overridden"}
    router = APIRouter(dependency_overrides_provider=provider)

    @router.get("/item")
    async def item(name: Annotated[str, Depends(original)]) -> Item:
        return Item(name=name)

    app.router.routes += router.routes
    return get("/item")


@setup
def an_own_handler_of_invalid_requests(app: FastAPI) -> Requests:
    app.add_exception_handler(RequestValidationError, _on_error_in_a_thread)
    app.get("/{number}")(_number)
    return get("/7", "/x")


async def _number(number: int, limit: Annotated[int, Query(le=9)] = 1) -> int:
    return number + limit


@setup
def a_request_is_asked_whether_its_client_left(app: FastAPI) -> Requests:
    app.router.route_class = JSONRoute

    @app.post("/item")
    async def item(item: Item, request: Request) -> Item:
        parts = [part async for part in request.stream()]
        return Item(name=f"{await request.json()} {parts} {type(request).__mro__[-3].__name__}")

    return [("POST", "/item", b'{"name": "x"}')]


async def _answers(app: FastAPI, requests: Requests) -> list[Any]:
    answers = []
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for method, path, body in requests:
            async with asyncio.timeout(20):
                answer = await client.request(method, path, content=body, headers=JSON)
            answers.append((method, path, body, answer.status_code, answer.headers.raw, answer.content))
    return answers


@pytest.mark.parametrize("configure", SETUPS.values(), ids=SETUPS)
async def test_the_short_way_answers_as_fastapi(configure: Callable[[FastAPI], Requests]) -> None:
    stock, short = FastAPI(), FastAPI()
    short.add_middleware(FastRoutes)
    expected = await _answers(stock, configure(stock))
    assert await _answers(short, configure(short)) == expected


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that took a fast route."""
    paths: list[str] = []
    respond = PlainRoute.response

    async def spied(route: Any, *arguments: Any) -> Any:
        paths.append(route.path_format)
        return await respond(route, *arguments)

    monkeypatch.setattr(PlainRoute, "response", spied)
    return paths


@pytest.mark.parametrize(
    "name",
    [name for name in SETUPS if name.startswith(("a route class", "a route whose", "a middleware", "an earlier"))],
)
async def test_a_route_that_is_not_known_takes_fastapis_own_way(handled: list[str], name: str) -> None:
    app = FastAPI()
    app.add_middleware(FastRoutes)
    await _answers(app, SETUPS[name](app))
    assert not handled


Change = Callable[[FastAPI], None]


def _remove(app: FastAPI) -> None:
    app.router.routes.pop()


def _insert_first(app: FastAPI) -> None:
    app.get("/item", response_model=str)(_text)
    app.router.routes.insert(0, app.router.routes.pop())


def _replace_by_an_equal_one(app: FastAPI) -> None:
    """Routes are equal if path, endpoint and methods are. Equal routes may still do different things."""
    old: Any = app.router.routes[-1]
    new = APIRoute("/item", old.endpoint, methods=["GET"], status_code=202, name=old.name)
    app.router.routes[-1] = new
    assert new == old


def _add(app: FastAPI) -> None:
    add_item(app, "/added")


def _override(app: FastAPI) -> None:
    app.dependency_overrides = {_text: lambda: "overridden"}


def _handle_404(app: FastAPI) -> None:
    app.add_exception_handler(404, _on_error_in_a_thread)


def _handle_own(app: FastAPI) -> None:
    app.add_exception_handler(Refusal, _on_error_in_a_thread)
    app.add_exception_handler(HTTPException, _on_error_in_a_thread)


@pytest.mark.parametrize(
    "change", [_remove, _insert_first, _replace_by_an_equal_one, _add, _override, _handle_404, _handle_own]
)
@pytest.mark.parametrize("asked", [True, False], ids=["after a request", "after the start"])
async def test_what_is_changed_while_it_runs_counts_as_with_fastapi(change: Change, asked: bool) -> None:
    answers: list[Any] = []
    paths = get("/item", "/added", "/router/item", "/router/added", "/fails/http", "/fails/own", "/fails/else", "/text")
    for app in (FastAPI(), FastAPI()):
        if answers:
            app.add_middleware(FastRoutes)

        @app.get("/fails/{kind}", dependencies=[Depends(_raise)])
        async def fails(kind: str) -> Item:
            return Item(name=kind)

        @app.get("/text")
        async def text(text: Annotated[str, Depends(_text)]) -> str:
            return text

        router = APIRouter(prefix="/router")
        add_item(router)
        app.include_router(router)
        add_item(app)
        await _answers(app, paths if asked else get("/nothing"))
        change(app)
        add_item(router, "/added")
        answers.append(await _answers(app, paths))
    assert answers[0] == answers[1]


async def test_state_of_the_lifespan_reaches_requests() -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"name": "from the lifespan"}

    names: list[Any] = []
    for app in (FastAPI(lifespan=lifespan), FastAPI(lifespan=lifespan)):
        if names:
            app.add_middleware(FastRoutes)

        @app.get("/item")
        async def item(request: Request) -> Item:
            return Item(name=request.state.name)

        async with app.router.lifespan_context(app) as state:

            async def with_state(
                scope: Scope, receive: Receive, send: Send, app: ASGIApp = app, state: Any = state
            ) -> None:
                await app({**scope, "state": dict(state)}, receive, send)

            async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
                names.append((await client.get("/item")).json())
    assert names == [{"name": "from the lifespan"}] * 2


async def test_a_timeout_around_or_inside_is_seen(handled: list[str]) -> None:
    app = FastAPI()
    app.add_middleware(FastRoutes)
    cancelled: list[bool] = []

    @app.get("/slow")
    async def slow() -> Item:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return Item()

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await client.get("/slow")
    assert handled == ["/slow"]
    assert cancelled == [True]
