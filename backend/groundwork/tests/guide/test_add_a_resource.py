"""`docs/add-a-resource.md`, followed word for word in a copy of the repository: `make test-guide`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from groundwork.testing import postgres
from groundwork.tests import BACKEND
from groundwork.tests.guide.guide import ROOT, Block, Guide, GuideError, copy_repository

pytestmark = pytest.mark.guide

PAGE = ROOT / "docs" / "add-a-resource.md"
NAME = "create projects"
DATABASE = "test_guide"
CHECKS = [
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
]
# What a new resource can break. What is left out tests what it does not reach: the pool, the process, the faults.
SUITES = [
    "tests/http/test_projects.py",
    "tests/http/test_resources.py",
    "tests/http/test_openapi.py",
    "tests/http/test_schemathesis.py",
    "tests/http/test_tasks.py::TestCreate",
    "tests/http/test_fast_routes.py::test_every_operation_on_a_users_data_can_take_it",
    "tests/isolation/test_isolation.py",
    "tests/isolation/test_statements.py",
    "tests/core/test_ownership.py::test_every_statement_of_the_service_names_its_owner",
    "tests/services/test_tasks.py::test_a_created_task_is_stored_and_read_as_it_was_returned",
    "tests/migrations/test_migrations.py::test_up_down_and_up_again_give_the_same_schema",
    "tests/migrations/test_migrations.py::test_alembic_finds_nothing_to_migrate",
    "tests/migrations/test_migrations.py::test_the_models_describe_the_migrated_schema_to_the_last_constraint",
    "tests/migrations/test_migrations.py::test_there_is_one_way_from_the_first_migration_to_the_last",
    "tests/migrations/test_migrations.py::test_a_migration_waits_for_no_lock_for_long",
]


@pytest.fixture(scope="module")
def guide() -> Guide:
    guide = Guide(PAGE)
    # Whoever follows the page has the last migration of that day before this one.
    [head] = ScriptDirectory(str(BACKEND / "migrations")).get_heads()
    guide.blocks = [
        block._replace(code=re.sub(r'(?m)^down_revision = ".*"$', f'down_revision = "{head}"', block.code))
        for block in guide.blocks
    ]
    return guide


@pytest.fixture(scope="module")
def backend(guide: Guide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy's folder `backend`, in which everything stands that the page says."""
    copy = copy_repository(tmp_path_factory.mktemp("guide") / "copy")
    guide.apply(copy)
    return copy / "backend"


def run(backend: Path, program: str, *arguments: str, **environment: str) -> None:
    """Run a program of this Python's environment in the copy."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=backend,
        env={**os.environ, **environment, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = "\n".join(done.stdout.splitlines()[-60:])
    assert done.returncode == 0, f"the page, followed in a copy, fails in {program} {' '.join(arguments[:2])}:\n{said}"


def lines_of(guide: Guide, part: str) -> int:
    def part_of(block: Block) -> str:
        if block.path.startswith("backend/migrations/"):
            return "migration"
        if block.path.startswith("backend/groundwork/tests/"):
            return "tests"
        return "reference" if "task" in Path(block.path).name else "resource"

    return sum(len(block.added) for block in guide.blocks if part_of(block) == part)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("resource", r"new resource takes (\d+) lines in `backend/app/`"),
        ("reference", r"the reference from tasks (\d+) more"),
        ("tests", r"their tests (\d+), without empty"),
    ],
)
def test_the_page_says_how_many_lines_it_takes(guide: Guide, part: str, sentence: str) -> None:
    said = re.search(sentence, guide.text)
    assert said, f"{PAGE.name} no longer says how many lines it takes: {sentence}"
    assert int(said[1]) == lines_of(guide, part), f"{PAGE.name} says {said[0]!r}: it takes {lines_of(guide, part)}"


def test_the_migration_is_the_one_that_alembic_writes(
    guide: Guide, backend: Path, postgres_server: postgres.Server
) -> None:
    shown = next((block for block in guide.blocks if block.path.startswith("backend/migrations/")), None)
    assert shown, f"{PAGE.name} shows no migration"
    path = backend.parent / shown.path
    versions = path.parent
    kept = path.read_text()
    path.unlink()
    postgres_server.create_database(DATABASE)
    settings = {"DATABASE_URL": postgres_server.url(DATABASE), "DATABASE_DIRECT_URL": ""}
    [revision] = re.findall(r'(?m)^revision = "(\w+)"$', shown.code)
    try:
        run(backend, "alembic", "upgrade", "head", **settings)
        run(backend, "alembic", "revision", "--autogenerate", "-m", NAME, "--rev-id", revision, **settings)
        [written] = versions.glob("*_create_projects.py")
        text = written.read_text()
        written.unlink()
    finally:
        path.write_text(kept)
        postgres_server.drop_database(DATABASE)
    assert text == shown.code, f"{PAGE.name} shows another migration than `make migration` writes"


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(backend: Path, command: tuple[str, ...]) -> None:
    run(backend, *command)


def test_the_tests_pass(backend: Path) -> None:
    run(backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", *SUITES)


class TestTheGuideItself:
    """What no longer fits is said in a sentence."""

    @pytest.mark.parametrize(
        ("page", "says"),
        [
            ("```python\nx = 1\n```\n", "no file is named before this block"),
            ("`a.py`:\n\n```python\nx = 1\n```\n", "a.py is shown as a new file, but there is one already"),
            ("`a.py`:\n\n```diff\n-z = 1\n+z = 2\n```\n", "looks for is no longer in a.py"),
            ("`a.py`:\n\n```diff\n-x = 1\n+x = 2\n```\n", "looks for is 2 times in a.py"),
        ],
    )
    def test_a_block_that_does_not_fit(self, tmp_path: Path, page: str, says: str) -> None:
        (tmp_path / "a.py").write_text("x = 1\nx = 1\ny = 1\n")
        (tmp_path / "page.md").write_text(page)
        with pytest.raises(GuideError, match=says):
            Guide(tmp_path / "page.md").apply(tmp_path)

    def test_changes_that_fit(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("x = 1\ny = 1\nz = 1\n")
        (tmp_path / "page.md").write_text("`a.py`:\n\n```diff\n x = 1\n-y = 1\n+y = 2\n@@\n z = 1\n+\n+w = 1\n```\n")
        guide = Guide(tmp_path / "page.md")
        guide.apply(tmp_path)
        assert (tmp_path / "a.py").read_text() == "x = 1\ny = 2\nz = 1\n\nw = 1\n"
        assert guide.blocks[0].added == ["y = 2", "w = 1"]
