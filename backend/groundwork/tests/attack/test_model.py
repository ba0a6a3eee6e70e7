"""The test of `tests/isolation/test_model.py` with many more steps."""

import time
from collections.abc import Callable

from groundwork.tests.attack import scaled
from groundwork.tests.isolation.test_model import CLIENTS, run_clients, run_state_machine
from groundwork.tests.process.server import Server

STEPS = scaled(5_000)


def test_any_interleaving_agrees_with_the_model(service: Server, show: Callable[[str], None]) -> None:
    started = time.monotonic()
    steps = run_state_machine(service, STEPS)
    show(f"isolation: {steps} steps agree with the model, {time.monotonic() - started:.0f} s")


def test_clients_at_once_agree_with_their_models(service: Server, show: Callable[[str], None]) -> None:
    started = time.monotonic()
    run_clients(service, STEPS // 2)
    show(f"isolation: {CLIENTS} clients at once, {STEPS // 2} steps in all, {time.monotonic() - started:.0f} s")
