"""Makes random requests from the OpenAPI document and checks every answer against it, as `st run` does."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies
from schemathesis import BaseSchema, engine
from schemathesis.core.result import Ok
from schemathesis.engine import events
from schemathesis.generation import GenerationMode
from schemathesis.python.asgi import shutdown_lifespans

from app.core.config import Settings
from app.main import create_app
from groundwork.http.paging import encode_cursor

# 412 is the answer to a valid condition that does not hold.
CHECKS = {"positive_data_acceptance": {"expected-statuses": ["2xx", "3xx", 404, 409, 412]}}
# All checks and all phases (examples, coverage, fuzzing, stateful), in the same order at each run.
CONFIG = {"generation": {"max-examples": 50, "deterministic": True}, "seed": 1, "checks": CHECKS}

# Cursors are opaque, so schemathesis cannot make valid ones from the document.
schemathesis.openapi.format("cursor", strategies.uuids().map(encode_cursor))


@pytest.fixture
def schema(settings: Settings) -> Iterator[BaseSchema]:
    """The document, bound to an application that schemathesis starts in an event loop of its own."""
    config = schemathesis.Config.from_dict(CONFIG)
    yield schemathesis.openapi.from_asgi("/openapi.json", create_app(settings), config=config)
    shutdown_lifespans()


def test_every_answer_is_as_documented(schema: BaseSchema) -> None:
    require_documented_answers(schema)


def require_documented_answers(schema: BaseSchema) -> int:
    """Run every phase and every check; returns the number of requests."""
    failures = []
    succeeded = set()
    requests = 0
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            failures.append(repr(event))
        elif isinstance(event, events.ScenarioFinished):
            requests += len(event.recorder.interactions)
            failures += _failures(event)
            succeeded |= _successful_operations(event)
    assert not failures, "\n\n".join(failures)
    # Requests that are all refused would prove little.
    assert succeeded == {operation.ok().label for operation in schema.get_all_operations() if isinstance(operation, Ok)}
    return requests


def _failures(scenario: events.ScenarioFinished) -> Iterator[str]:
    for case_id, checks in scenario.recorder.checks.items():
        for check in checks:
            if check.failure_info and not _is_mislabelled(scenario.recorder.cases[case_id].value, check.name):
                yield f"{check.name}: {check.failure_info.failure}\n{check.failure_info.code_sample}"


def _is_mislabelled(case: Any, check: str) -> bool:
    """Whether Schemathesis 4.32 calls a case valid although it has made a header of it invalid."""
    parts = [part.mode for part in case.meta.components.values()]
    return check == "positive_data_acceptance" and GenerationMode.NEGATIVE in parts


def _successful_operations(scenario: events.ScenarioFinished) -> set[str]:
    recorder = scenario.recorder
    return {
        recorder.cases[case_id].value.operation.label
        for case_id, interaction in recorder.interactions.items()
        if interaction.response and interaction.response.status_code < 300
    }
