import asyncio
from collections.abc import Callable

import pytest

from groundwork.data import failover, pool, queue_estimate, waiters
from groundwork.tests.pool.fakes import FakeServer
from groundwork.tests.pool.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual time": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's own clock is the event loop's."""
    for module in (failover, pool, queue_estimate, waiters):
        monkeypatch.setattr(module, "monotonic", lambda: asyncio.get_running_loop().time())


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()
