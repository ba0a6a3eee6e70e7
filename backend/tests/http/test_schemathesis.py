"""Property-based requests made from the OpenAPI document, and every answer checked against it."""

from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from app.core.settings import Settings
from app.core.paging import encode_cursor
from app.main import create_app
from fastapi import FastAPI
from schemathesis.python.asgi import shutdown_lifespans

CONFIG = schemathesis.Config.from_dict({"generation": {"max-examples": 50, "deterministic": True}})
document = create_app(Settings(_env_file=None, database_url="postgresql://nowhere/none")).openapi()  # type: ignore[call-arg, arg-type]
schema = schemathesis.openapi.from_dict(document, config=CONFIG)


schemathesis.openapi.format("cursor", hypothesis.strategies.uuids().map(encode_cursor))


@pytest.fixture
def served(settings: Settings) -> Iterator[FastAPI]:
    """The application, which schemathesis starts in an event loop of its own."""
    yield create_app(settings)
    shutdown_lifespans()


@schema.parametrize()
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_every_answer_is_as_documented(case: schemathesis.Case, served: FastAPI) -> None:
    case.call_and_validate(app=served)


def test_sequences_of_requests_are_answered_as_documented(served: FastAPI) -> None:
    schemathesis.openapi.from_asgi("/openapi.json", served, config=CONFIG).as_state_machine().run()
