from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI

from groundwork.serve.settings import Settings
from groundwork.testing.http import client_of
from groundwork.tests.sign_in.issuer import Issuer, running_issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def settings(settings: Settings, issuer: Issuer) -> Settings:
    return settings.model_copy(update=issuer.settings())


@pytest.fixture
async def alice(app: FastAPI, issuer: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which sends a token of Alice."""
    async with client_of(app) as client:
        client.headers.update(issuer.bearer("alice"))
        yield client


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pause between two fetches of the issuer's keys."""
    monkeypatch.setattr("groundwork.auth.issuer.PAUSE_SECONDS", 0)
