"""With sign-in on, the program does not start if a route serves a user's rows without sign-in."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Cookie, Depends, FastAPI, Header, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, SecretStr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from app.core.config import Settings
from app.main import create_app
from groundwork.auth.bearer import SignIn
from groundwork.http.protected_routes import UnprotectedRoute, require_sign_in
from groundwork.serve import application
from groundwork.tests.process import server
from groundwork.tests.sign_in.issuer import AUDIENCE, Issuer


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application's sign-in dependency."""
    sign_in = SignIn(issuer="http://127.0.0.1:9", audience=AUDIENCE, jwks_url=None)
    monkeypatch.setattr(application, "_sign_in", lambda settings: sign_in)
    return sign_in.require_owner


@pytest.fixture
def settings() -> Settings:
    """Settings with sign-in on. Nothing connects to their database or issuer."""
    return Settings(
        database_url=SecretStr("postgresql://user@localhost/x"),
        auth_issuer="http://127.0.0.1:9",
        auth_audience=AUDIENCE,
    )


async def _own(user_id: str) -> str:
    return user_id


async def _any() -> str:
    return "any"


async def _plain(request: Request) -> Response:
    return PlainTextResponse(request.path_params["user_id"])


async def _socket(websocket: WebSocket, user_id: str) -> None:
    await websocket.close()


async def _opaque_socket(websocket: WebSocket) -> None:
    await websocket.close()


async def _opaque(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("opaque")(scope, receive, send)


class _Body(BaseModel):
    user_id: str


class _Aliased(BaseModel):
    owner: str = Field(alias="user_id")


async def _in_query(user_id: str) -> str:
    return user_id


async def _(user_id: Annotated[str, Header()]) -> str:
    return user_id


async def _in_cookie(owner: Annotated[str, Cookie(alias="user_id")]) -> str:
    return owner


async def _in_body(body: _Body) -> str:
    return body.user_id


async def _in_alias(body: _Aliased) -> str:
    return body.owner


async def _in_part(user_id: Annotated[str, Body(embed=True)]) -> str:
    return user_id


async def _in_dependency(user_id: Annotated[str, Depends(_in_query)]) -> str:
    return user_id


class _OwnClass(APIRoute):
    pass


def _router(path: str = "/api/{user_id}/open", **options: Any) -> APIRouter:
    router = APIRouter(**options)
    router.get(path)(_own if "{user_id" in path else _any)
    return router


def _nested(app: FastAPI) -> None:
    outer = APIRouter(prefix="/v2/{user_id}")
    outer.include_router(_router("/open"))
    app.include_router(outer, prefix="/api")


def _sub(path: str = "/{user_id}/open") -> FastAPI:
    sub = FastAPI()
    sub.include_router(_router(path))
    return sub


def _mount_in_a_router(app: FastAPI) -> None:
    router = APIRouter()
    router.mount("/sub", _sub())
    app.include_router(router, prefix="/v2")


OPEN: dict[str, Callable[[FastAPI], Any]] = {
    "a router": lambda app: app.include_router(_router()),
    "a router with a prefix": lambda app: app.include_router(_router(), prefix="/v2"),
    "a router whose prefix names the user": lambda app: app.include_router(_router("/x"), prefix="/api/{user_id}"),
    "a router in a router": _nested,
    "a convertor": lambda app: app.include_router(_router("/api/{user_id:segment}/open")),
    "another dependency": lambda app: app.include_router(_router(), dependencies=[Depends(_any)]),
    "a route": lambda app: app.get("/{user_id}")(_own),
    "a route whose handler does not ask for the user": lambda app: app.get("/{user_id}/any")(_any),
    "a route class of the team's own": lambda app: app.include_router(_router(route_class=_OwnClass)),
    "a plain function": lambda app: app.add_route("/api/{user_id}/plain", _plain),
    "a plain function in a router": lambda app: app.include_router(APIRouter(routes=[Route("/{user_id}", _plain)])),
    "a websocket": lambda app: app.websocket("/api/{user_id}/socket")(_socket),
    "a plain websocket": lambda app: app.router.add_websocket_route("/{user_id}", _opaque_socket),
    "a hidden route": lambda app: app.get("/{user_id}", include_in_schema=False)(_own),
    "a mounted application": lambda app: app.mount("/sub", _sub()),
    "a mount that names the user": lambda app: app.mount("/sub/{user_id}", _sub("/x")),
    "a mount of what cannot be seen": lambda app: app.mount("/sub/{user_id}", _opaque),
    "a mount in a router": _mount_in_a_router,
    "a mounted router": lambda app: app.mount("/sub", _router()),
    "a mount with middleware": lambda app: app.mount("/sub", GZipMiddleware(GZipMiddleware(_sub()))),
    "a mount with middleware of its own": lambda app: app.router.routes.append(
        Mount("/sub", routes=[Route("/{user_id}", _plain)], middleware=[Middleware(GZipMiddleware)])
    ),
    "a host": lambda app: app.host("sub.example.org", _sub()),
    "a host that names the user": lambda app: app.router.routes.append(Host("{user_id}.example.org", app=Router())),
    "the query": lambda app: app.get("/open")(_in_query),
    "a header": lambda app: app.get("/open")(_),
    "a cookie": lambda app: app.get("/open")(_in_cookie),
    "the body": lambda app: app.post("/open")(_in_body),
    "the body, by an alias": lambda app: app.post("/open")(_in_alias),
    "a part of the body": lambda app: app.post("/open")(_in_part),
    "a dependency's query": lambda app: app.get("/open")(_in_dependency),
}

SENTENCE = r"^Sign-in is on, and the route \S+ takes a user_id without it: add its router to `resources` in "


@pytest.mark.parametrize("add", OPEN.values(), ids=OPEN)
async def test_a_route_without_sign_in_stops_the_start(settings: Settings, add: Callable[[FastAPI], Any]) -> None:
    app = create_app(settings)
    add(app)
    with pytest.raises(UnprotectedRoute, match=SENTENCE):
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")


GUARDED: dict[str, Callable[[FastAPI, Any], Any]] = {
    "a router": lambda app, own: app.include_router(_router(), dependencies=[own]),
    "a router's own": lambda app, own: app.include_router(_router(dependencies=[own])),
    "an outer router": lambda app, own: app.include_router(_router("/x"), prefix="/{user_id}", dependencies=[own]),
    "a route": lambda app, own: app.get("/{user_id}", dependencies=[own])(_own),
    "a mounted application": lambda app, own: app.mount("/sub/{user_id}", _guarded_sub(own)),
    "nobody's route": lambda app, own: app.get("/open")(_any),
    "nobody's mount": lambda app, own: app.mount("/opaque", _opaque),
}


def _guarded_sub(own: Any) -> FastAPI:
    sub = FastAPI(dependencies=[own], docs_url=None, redoc_url=None, openapi_url=None)
    sub.get("/x")(_any)
    return sub


@pytest.mark.parametrize("add", GUARDED.values(), ids=GUARDED)
async def test_a_route_with_it_starts(settings: Settings, own: Any, add: Callable[[FastAPI, Any], Any]) -> None:
    app = create_app(settings)
    add(app, Depends(own))
    async with app.router.lifespan_context(app):
        pass


async def test_sign_in_without_a_user_in_the_path_stops_the_start(settings: Settings, own: Any) -> None:
    app = create_app(settings)
    app.get("/mine", dependencies=[Depends(own)])(_any)
    with pytest.raises(
        UnprotectedRoute, match=r"route /mine has the sign-in dependency, but no \{user_id\} in its path"
    ):
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")


def test_without_sign_in_any_route_may_take_a_user() -> None:
    app = create_app(Settings(database_url=SecretStr("postgresql://user@localhost/x")))
    app.include_router(_router())
    with pytest.raises(UnprotectedRoute):
        require_sign_in(app.routes, _any)


OPEN_PROGRAM = """
import app.main
from fastapi import APIRouter
from groundwork.http import health
router = APIRouter()
@router.get("/api/{user_id}/open")
async def open(user_id: str) -> str: return user_id
"""


@pytest.mark.parametrize("module", ["uvicorn", "gunicorn"])
def test_the_program_says_in_a_sentence_why_it_does_not_start(
    tmp_path: Path, service_url: str, issuer: Issuer, module: str
) -> None:
    """The route is in a router that `create_app` includes, or in one that is added to the application later."""
    (tmp_path / "late.py").write_text(f"{OPEN_PROGRAM}application = app.main.app\napplication.include_router(router)\n")
    (tmp_path / "early.py").write_text(
        f"{OPEN_PROGRAM}health.router.include_router(router)\napplication = app.main.app\n"
    )
    variables = {"DATABASE_URL": service_url, "AUTH_ISSUER": issuer.url, "AUTH_AUDIENCE": AUDIENCE}
    variables |= {"PYTHONPATH": f"{tmp_path}:{server.BACKEND}", "PORT": str(server.free_port()), "WEB_CONCURRENCY": "1"}
    options = ["-c", "gunicorn.conf.py"] if module == "gunicorn" else ["--port", variables["PORT"]]
    for program in ("early", "late"):
        done = subprocess.run(
            [sys.executable, "-m", module, *options, f"{program}:application"],
            cwd=server.BACKEND,
            env=server.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "takes a user_id without it" in done.stderr
        assert "Traceback" not in done.stderr
