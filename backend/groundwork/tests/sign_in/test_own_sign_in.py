"""A service's own sign-in replaces the sign-in with tokens."""

from types import TracebackType
from typing import Self

import pytest
from fastapi import Request

from app.core.config import Settings
from app.routes.tasks import router
from groundwork.auth.owner import bearer_token
from groundwork.errors import InvalidToken
from groundwork.serve.application import create_app
from groundwork.testing.http import assert_problem, client_of
from tests.resources import TASK


class Password:
    """Everybody's password is their own name."""

    open = False

    async def __aenter__(self) -> Self:
        self.open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open = False

    async def require_owner(self, request: Request) -> None:
        assert self.open
        if bearer_token(request) != request.path_params["user_id"].encode():
            raise InvalidToken("This is another's password.")


@pytest.mark.parametrize("with_tokens", [False, True], ids=["alone", "beside AUTH_ISSUER"])
async def test_it_decides_who_reaches_what(settings: Settings, *, with_tokens: bool) -> None:
    if with_tokens:
        settings = settings.model_copy(update={"auth_issuer": "https://issuer.invalid", "auth_audience": "api"})
    password = Password()
    app = create_app(settings, resources=[router], sign_in=password)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert_problem(await client.get(TASK.of("alice")), 401)
        client.headers["Authorization"] = "Bearer alice"
        assert (await client.get(TASK.of("alice"))).json() == []
        answer = await client.get(TASK.of("bob"))
        assert_problem(answer, 401)
        assert "This is another's password." in answer.headers["www-authenticate"]
    assert not password.open
    assert app.openapi()["components"]["securitySchemes"]
