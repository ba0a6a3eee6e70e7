"""Options that run the tests in another way: --pooler, --tracking-pooler, --partitioned, --resources and --stock.

This is a plugin and not a conftest.py, so that its fixtures are there for `backend/tests` too.
"""

from collections.abc import Iterator

import pytest

from groundwork.testing import postgres
from groundwork.testing.statements import Sent
from groundwork.tests import partitions
from groundwork.tests.pooler import MISSING, MISSING_TRACKING, Pooler, is_installed, running_pooler
from groundwork.tests.process import server
from groundwork.tests.stock import serve_stock


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pooler", action="store_true", help="the service reaches PostgreSQL through PgBouncer in transaction mode"
    )
    parser.addoption(
        "--tracking-pooler", action="store_true", help="the same, through a PgBouncer that tracks prepared statements"
    )
    parser.addoption("--partitioned", action="store_true", help="the tables are partitioned by user")
    parser.addoption("--resources", type=int, default=2, help="how many resources the guide's tests generate (30)")
    parser.addoption("--stock", action="store_true", help="the service is made with fast=False")


def pytest_configure(config: pytest.Config) -> None:
    config.option.pooler |= config.option.tracking_pooler
    if config.option.stock:
        serve_stock()
        server.default_application = server.STOCK


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --stock, leave out the tests that are only about `groundwork.fast`.

    With --pooler or --tracking-pooler, leave out those that do not use `service_url`, directly or through a fixture.
    Only that fixture depends on the option, so these would run as they do without it.
    """
    left_out: list[pytest.Item] = []
    if config.option.stock:
        left_out += (item for item in items if item.get_closest_marker("fast"))
    if config.option.pooler:
        left_out += (item for item in items if not _uses_service_url(item) and item not in left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _uses_service_url(item: pytest.Item) -> bool:
    return "service_url" in getattr(item, "fixturenames", ())


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [
        *(
            [
                "The service reaches PostgreSQL through PgBouncer in transaction mode",
                "Tests that do not use the fixture service_url are left out: they run the same without this option",
            ]
            if config.option.pooler
            else ()
        ),
        *(["PgBouncer tracks prepared statements"] if config.option.tracking_pooler else ()),
        *(["The tables are partitioned by user"] if config.option.partitioned else ()),
        *(["The service runs without groundwork.fast"] if config.option.stock else ()),
    ]


@pytest.fixture(scope="session")
def partitioned(postgres_server: postgres.Server) -> partitions.Partitioned:
    """A copy of the template database with partitioned tables."""
    postgres_server.create_database(partitions.DATABASE, template=postgres.TEMPLATE)
    partitions.partition(postgres_server, partitions.DATABASE)
    return partitions.Partitioned(postgres_server.url(partitions.DATABASE))


@pytest.fixture(scope="session")
def template_database(request: pytest.FixtureRequest, postgres_server: postgres.Server) -> str:
    if not request.config.option.partitioned:
        return postgres.TEMPLATE
    request.getfixturevalue("partitioned")
    return partitions.DATABASE


@pytest.fixture(scope="session")
def pooler(postgres_server: postgres.Server) -> Iterator[Pooler]:
    """PgBouncer in front of that server."""
    if not is_installed():
        pytest.skip(MISSING)
    with running_pooler(postgres_server.url(postgres.TEMPLATE)) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def tracking_pooler(postgres_server: postgres.Server) -> Iterator[Pooler]:
    """PgBouncer in front of that server, in a version that tracks prepared statements."""
    if not is_installed(tracking=True):
        pytest.skip(MISSING_TRACKING)
    with running_pooler(postgres_server.url(postgres.TEMPLATE), tracking=True) as pooler:
        yield pooler


@pytest.fixture
def service_url(request: pytest.FixtureRequest, database_url: str) -> str:
    """The URL by which the service reaches that database. With --pooler or --tracking-pooler, it leads to PgBouncer."""
    if not _uses_service_url(request.node):
        pytest.fail("name service_url among the test's fixtures: otherwise --pooler leaves the test out", pytrace=False)
    if not request.config.option.pooler:
        return database_url
    name = "tracking_pooler" if request.config.option.tracking_pooler else "pooler"
    pooler: Pooler = request.getfixturevalue(name)
    return pooler.url(database_url)


@pytest.fixture(autouse=True)
def _one_partition(request: pytest.FixtureRequest, sent_statements: list[Sent]) -> Iterator[None]:
    """Check that each statement of the service would reach one partition if its tables were partitioned by user."""
    if "postgres_server" not in request.fixturenames:
        yield
        return
    partitioned: partitions.Partitioned = request.getfixturevalue("partitioned")
    yield
    partitioned.require_one_in_each(sent_statements)
