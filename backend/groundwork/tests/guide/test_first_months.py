"""`docs/first-months.md`, followed word for word in a copy of the repository: `make test-guide`."""

import re
from pathlib import Path

import pytest

from groundwork.testing import postgres
from groundwork.tests.guide.guide import ROOT, Guide, copy_repository
from groundwork.tests.guide.test_add_a_resource import CHECKS, run
from groundwork.tests.guide.test_resource import make_resource, sources

pytestmark = pytest.mark.guide

PAGE = ROOT / "docs" / "first-months.md"
DATABASE = "test_first_months"
MOST_LINES = 900
SERVICE = "backend/app/"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_MIGRATION = re.compile(r'^make migration NAME="(.+)"$', re.MULTILINE)


def lines_by_section(text: str) -> dict[str, int]:
    """How many lines each section lets its reader write in the service."""
    page = Guide(PAGE)
    _, *parts = _SECTION.split(text)
    counted = {
        title: sum(len(block.added) for block in page.blocks_in(part) if block.path.startswith(SERVICE))
        for title, part in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: lines for title, lines in counted.items() if lines}


def table(lines: dict[str, int]) -> str:
    """The table at the end of the page."""
    rows = [*lines.items(), ("all", sum(lines.values()))]
    return "\n".join(["| feature | lines |", "| --- | --- |", *(f"| {title} | {count} |" for title, count in rows)])


def test_the_page_says_how_many_lines_each_feature_takes() -> None:
    text = PAGE.read_text()
    lines = lines_by_section(text)
    assert table(lines) in text, f"{PAGE.name} must end with this table:\n{table(lines)}"
    assert sum(lines.values()) <= MOST_LINES


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server) -> Path:
    """A copy in which the page was followed, with its migrations written by the command that it names."""
    backend = copy_repository(tmp_path_factory.mktemp("months") / "copy") / "backend"
    page = Guide(PAGE)
    postgres_server.create_database(DATABASE)
    settings = {"DATABASE_URL": postgres_server.url(DATABASE), "DATABASE_DIRECT_URL": ""}
    first, *parts = _MIGRATION.split(page.text)
    _apply(page, first, backend)
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        run(backend, "alembic", "upgrade", "head", **settings)
        run(backend, "alembic", "revision", "--autogenerate", "-m", name, **settings)
        _apply(page, part, backend)
    run(backend, "python", "-m", "tests.test_openapi_document")
    run(backend, "python", "-m", "groundwork.dev.build_clients", "version")
    postgres_server.drop_database(DATABASE)
    return backend


def _apply(page: Guide, part: str, backend: Path) -> None:
    page.blocks = page.blocks_in(part)
    page.apply(backend.parent)


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(backend: Path, command: tuple[str, ...]) -> None:
    run(backend, *command)


def test_only_public_names_of_the_library_are_imported(backend: Path) -> None:
    run(backend, "python", "-m", "groundwork.dev.public_names")


def test_the_whole_suite_of_the_copy_passes(backend: Path) -> None:
    run(backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests")


def test_a_resource_of_organisations_is_written_and_taken_out_again(
    backend: Path, postgres_server: postgres.Server
) -> None:
    before = sources(backend)
    fields = "title:str(100) status:enum(draft,final) document:ref(documents) above:ref(memos)?"
    with postgres_server.database() as url:
        make_resource(backend, url, NAME="memo", FIELDS=fields, OWNER="organisation")
        for command in (("ruff", "check", "."), ("mypy",)):
            run(backend, *command)
        run(backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests", "-k", "memo")
        make_resource(backend, url, NAME="memo", FIELDS=fields, OWNER="organisation", REMOVE="yes")
    assert sources(backend) == before
