"""Every test that touches the database gets one of its own: a copy of a template that the migrations made."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from groundwork.serve.application import Application
from groundwork.tests import partitions, postgres, statements
from groundwork.tests.pooler import MISSING, Pooler, is_installed, running_pooler
from groundwork.tests.process import server
from groundwork.tests.stock import serve_stock

TEMPLATE = "template_of_tests"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pooler", action="store_true", help="the service reaches PostgreSQL through PgBouncer in transaction mode"
    )
    parser.addoption("--stock", action="store_true", help="the service is made with fast=False")
    parser.addoption("--partitioned", action="store_true", help="the tables are partitioned by user")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.stock:
        serve_stock()
        server.default_application = server.STOCK


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --stock, leave out what is about `groundwork.fast` alone."""
    if config.option.stock:
        left_out = [item for item in items if item.get_closest_marker("fast")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("fast")]


def pytest_report_header(config: pytest.Config) -> str:
    through = ", through PgBouncer in transaction mode" if config.option.pooler else ""
    tables = ", tables partitioned by user" if config.option.partitioned else ""
    stock = ", without groundwork.fast" if config.option.stock else ""
    return f"PostgreSQL: {postgres.describe_choice()}{through}{tables}{stock}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for change in postgres.changes_of_choice:
        terminalreporter.line(f"PostgreSQL: {change}")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A PostgreSQL server for this run, with the template database migrated."""
    with postgres.running_server(tmp_path_factory.mktemp("postgres")) as server:
        server.create_database(TEMPLATE)
        postgres.migrate(server.url(TEMPLATE))
        server.create_database(partitions.DATABASE, template=TEMPLATE)
        partitions.partition(server, partitions.DATABASE)
        yield server


@pytest.fixture(scope="session")
def partitioned(postgres_server: postgres.Server) -> partitions.Partitioned:
    return partitions.Partitioned(postgres_server.url(partitions.DATABASE))


@pytest.fixture
def database_url(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of an empty, migrated database that no other test sees."""
    name = f"test_{next(_numbers)}"
    template = partitions.DATABASE if request.config.option.partitioned else TEMPLATE
    postgres_server.create_database(name, template=template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def pooler(postgres_server: postgres.Server) -> Iterator[Pooler]:
    """PgBouncer in front of that server."""
    if not is_installed():
        pytest.skip(MISSING)
    with running_pooler(postgres_server.url(TEMPLATE)) as pooler:
        yield pooler


@pytest.fixture
def service_url(request: pytest.FixtureRequest, database_url: str) -> str:
    """The service's way to that database: with --pooler, through PgBouncer."""
    if not request.config.option.pooler:
        return database_url
    pooler: Pooler = request.getfixturevalue("pooler")
    return pooler.url(database_url)


@pytest.fixture
def settings(service_url: str) -> Settings:
    return Settings(database_url=service_url)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Application]:
    """The application, started."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the application in process."""
    async with client_of(app) as client:
        yield client


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection past the service, to look at the database and to prepare it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def sent_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[statements.Sent]]:
    """Every statement that the service sends during the test; each must name the owner of what it touches."""
    sent = statements.record(monkeypatch)
    yield sent
    statements.require_owner_in_each(sent)


@pytest.fixture(autouse=True)
def _one_partition(request: pytest.FixtureRequest, sent_statements: list[statements.Sent]) -> Iterator[None]:
    """Partitioned by user, each of those statements would reach one partition."""
    if "postgres_server" not in request.fixturenames:
        yield
        return
    partitioned: partitions.Partitioned = request.getfixturevalue("partitioned")
    yield
    partitioned.require_one_in_each(sent_statements)


@pytest.fixture
def backend_directory() -> Path:
    return Path(__file__).parents[2]
