"""These tests build the image and start the stack for real: `make test-containers`."""

from collections.abc import Iterator

import pytest

from groundwork.testing.postgres import container_engine
from groundwork.tests.containers.host import IMAGE as VM_IMAGE
from groundwork.tests.containers.host import Host
from groundwork.tests.containers.stack import IMAGE, Stack, docker
from groundwork.tests.containers.versions import FAILING, NEXT, build


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "containers" in item.path.parts:
            item.add_marker("containers")


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built from the present code."""
    assert container_engine(), "no container engine answers: start Docker, or leave these tests out with `make test`"
    Stack().compose("build", "backend")
    return IMAGE


@pytest.fixture(scope="module")
def stack(image: str) -> Iterator[Stack]:
    """The running stack. All its containers are healthy."""
    yield from _running(Stack())


@pytest.fixture(scope="module")
def pooled_stack(image: str) -> Iterator[Stack]:
    """The stack with PgBouncer between the service and the database."""
    yield from _running(Stack(COMPOSE_PROFILES="pooler", STACK_DATABASE="pgbouncer:6432"))


@pytest.fixture(scope="session")
def host(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host that serves version 1. Version 2 brings a migration, and version 3 one that fails."""
    docker("tag", image, f"{VM_IMAGE}:1")
    build(tmp_path_factory.mktemp("version-2"), "2", NEXT)
    build(tmp_path_factory.mktemp("version-3"), "3", NEXT, FAILING)
    host = Host(tmp_path_factory.mktemp("host") / "vm")
    # What a killed run left would hold the ports and the data.
    host.down()
    try:
        host.up()
        yield host
    finally:
        host.down()


def _running(stack: Stack) -> Iterator[Stack]:
    # What a killed run left would hold the ports and the data.
    stack.down()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()
