"""The pytest plugin of a service: a database for each test, the started application, and a client that calls it.

A `conftest.py` loads the plugin and says what the service is:

    pytest_plugins = ["groundwork.testing.plugin"]

    @pytest.fixture(scope="session")
    def service_under_test() -> Service:
        return Service(create_app, Settings)

Each test that touches the database gets one of its own: a copy of a template that the migrations made. Every statement
that the service sends during a test must name the owner of the rows that it reaches.
"""

from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from groundwork.serve.application import Application
from groundwork.serve.settings import Settings
from groundwork.testing import parametrize, postgres, samples, statements, unique
from groundwork.testing.http import client_of
from groundwork.testing.resource import Differs, Resource
from groundwork.testing.service import Service

_SAYS_WHY = "does not work: the first failure says why"
_SAMPLES = pytest.StashKey[dict[tuple[Service, int], str]]()
"""What is wrong with the sample of a resource (by its `id`) on a service; "" if nothing is."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "promise(name, *operations): a promise of the contract, and who keeps it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize.generate(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    parametrize.require_tables(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a failed test of the contract, add to the report which promise is broken, and what to do."""
    report = yield
    failure = str(call.excinfo.value) if call.excinfo else ""
    if report.skipped and _SAYS_WHY in str(report.longrepr):
        # One place for all, so that pytest shows them in one line.
        report.longrepr = ("tests/resources.py", 1, failure)
    # What fails before the test breaks no promise.
    if report.failed and call.when != "setup" and (advice := parametrize.advice(item, failure)):
        report.sections.append(("The promise that is broken", advice))
    return report


def pytest_report_header() -> str:
    return f"PostgreSQL: {postgres.describe_choice()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for change in postgres.changes_of_choice:
        terminalreporter.line(f"PostgreSQL: {change}")


@pytest.fixture(scope="session")
def service_under_test() -> Service:
    """A `conftest.py` overrides this fixture."""
    pytest.fail(
        "No fixture says what the service is: add one named `service_under_test` to tests/conftest.py, which returns"
        " groundwork.testing.service.Service(create_app, Settings)."
    )


@pytest.fixture(scope="session")
def backend_directory(pytestconfig: pytest.Config) -> Path:
    """The folder with `pyproject.toml`, `alembic.ini` and `migrations`."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, backend_directory: Path) -> Iterator[postgres.Server]:
    """A PostgreSQL server for this run, with the template database migrated."""
    with postgres.running_server(tmp_path_factory.mktemp("postgres")) as server:
        server.create_database(postgres.TEMPLATE)
        postgres.migrate(server.url(postgres.TEMPLATE), backend_directory)
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: postgres.Server) -> str:
    """The name of the database that is copied for each test."""
    return postgres.TEMPLATE


@pytest.fixture
def database_url(postgres_server: postgres.Server, template_database: str) -> Iterator[str]:
    """The URL of an empty, migrated database that no other test sees."""
    with postgres_server.database(template_database) as url:
        yield url


@pytest.fixture
def service_url(database_url: str) -> str:
    """The URL by which the service reaches the test's database."""
    return database_url


@pytest.fixture
def settings(service_under_test: Service, service_url: str) -> Settings:
    """The service's settings: the defaults, and this test's database."""
    return service_under_test.settings(database_url=service_url)


@pytest.fixture
async def app(service_under_test: Service, settings: Settings) -> AsyncIterator[Application]:
    """The application, started."""
    app = service_under_test.create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: FastAPI, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application in process.

    The users of the contract's tests have what rows of the tested resource need: groups, and rows to which they refer.
    """
    if (resource := parametrize.resource_of(request.node)) and (resource.within or resource.parents):
        connection = await asyncpg.connect(request.getfixturevalue("database_url"))
        for user_id in parametrize.USERS:
            await resource.prepare(connection, user_id)
        await connection.close()
    async with client_of(app) as client:
        yield client


@pytest.fixture
def resources(request: pytest.FixtureRequest) -> Sequence[Resource]:
    """The resources in the table of this test's module."""
    return parametrize.table_of(request.module).resources


@pytest.fixture
def differs(request: pytest.FixtureRequest) -> Mapping[str, Differs]:
    """The operations that the table of this test's module takes out of promises, by name."""
    return parametrize.table_of(request.module).differs


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, to prepare the database and to look into it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def usable_sample(request: pytest.FixtureRequest) -> None:
    """If the sample of a resource is refused, its first test of the contract fails, and the others are skipped.

    Otherwise each of them would fail, and blame a promise.
    """
    unique.restart()
    resource = parametrize.resource_of(request.node)
    if resource is None or request.node.get_closest_marker("promise") is None:
        return
    service: Service = request.getfixturevalue("service_under_test")
    found = request.config.stash.setdefault(_SAMPLES, {})
    key = (service, id(resource))
    if key not in found:
        app = service.create_app(request.getfixturevalue("settings"))
        found[key] = samples.problem_of(resource, app, parametrize.table_of(request.module).differs)
        if found[key]:
            pytest.fail(found[key], pytrace=False)
    elif found[key]:
        pytest.skip(f"the sample of {samples.constant(resource)} {_SAYS_WHY}")


@pytest.fixture(autouse=True)
def sent_statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[statements.Sent]]:
    """Every statement that the service sends during the test; each must name the owner of what it touches."""
    sent = statements.record(monkeypatch)
    yield sent
    statements.require_owner_in_each(sent)
