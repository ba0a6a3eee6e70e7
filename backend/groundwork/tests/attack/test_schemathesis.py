"""Requests made from the OpenAPI document, sent to the running service: every answer must be as documented."""

import time
from collections.abc import Callable

import schemathesis

from groundwork.tests.attack import SEED, scaled
from groundwork.tests.http.test_schemathesis import CHECKS, require_documented_answers
from groundwork.tests.process.server import Server


def test_every_answer_is_as_documented(service: Server, show: Callable[[str], None]) -> None:
    started = time.monotonic()
    options = {"generation": {"max-examples": scaled(100)}, "seed": SEED, "checks": CHECKS}
    config = schemathesis.Config.from_dict(options)
    requests = require_documented_answers(schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=config))
    show(f"schemathesis: seed {SEED}, {requests} requests, {time.monotonic() - started:.0f} s")
