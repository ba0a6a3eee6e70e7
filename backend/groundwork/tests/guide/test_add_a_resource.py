"""`docs/add-a-resource.md`, followed word for word in a copy of the repository: `make test-guide`."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from alembic.script import ScriptDirectory

from groundwork.dev.repository import LEFT_OUT, leave_out
from groundwork.testing import postgres
from groundwork.tests.guide.guide import ROOT, Guide, GuideError, copy_repository

pytestmark = pytest.mark.guide

PAGE = ROOT / "docs" / "add-a-resource.md"
REFERENCE, RULE = "A reference from tasks", "A rule on the state of a row"
DATABASE = "test_guide"
CHECKS = [
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
    ("python", "-m", "groundwork.dev.migration_rules"),
]
# The library's tests that look at the resources of the application.
FOUNDATION = [
    "groundwork/tests/http/test_openapi.py",
    "groundwork/tests/http/test_schemathesis.py",
    "groundwork/tests/http/test_fast_routes.py",
    "groundwork/tests/isolation/test_partitions.py",
    "groundwork/tests/core/test_ownership.py",
]


class Copy(NamedTuple):
    """A copy of the repository. Its folder `backend` has everything that the page says."""

    guide: Guide
    backend: Path


def follow(guide: Guide, copy: Path) -> Copy:
    # For a reader of the page, the first migration follows the last one that exists.
    [head] = ScriptDirectory(str(copy / "backend" / "migrations")).get_heads()
    own = {revision for block in guide.blocks for revision in re.findall(r'(?m)^revision = "(\w+)"$', block.code)}

    def with_head(found: re.Match[str]) -> str:
        return found[0] if found[1] in own else f'down_revision = "{head}"'

    guide.blocks = [
        block._replace(code=re.sub(r'(?m)^down_revision = "(.*)"$', with_head, block.code)) for block in guide.blocks
    ]
    guide.apply(copy)
    run(copy / "backend", "python", "-m", "tests.test_openapi_document")
    run(copy / "backend", "python", "-m", "groundwork.dev.build_clients", "version")
    return Copy(guide, copy / "backend")


@pytest.fixture(scope="module")
def with_example(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The whole page, followed in the template."""
    return follow(Guide(PAGE), copy_repository(tmp_path_factory.mktemp("with_example") / "copy"))


@pytest.fixture(scope="module")
def without_example(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The page up to its two last parts, followed in what `make init EXAMPLE=remove` leaves of the template."""
    copy = copy_repository(tmp_path_factory.mktemp("without_example") / "copy")
    leave_out(copy, LEFT_OUT)
    run(copy / "backend", "python", "-m", "groundwork.dev.example")
    return follow(Guide(PAGE, until=REFERENCE), copy)


@pytest.fixture(params=["with_example", "without_example"])
def copy(request: pytest.FixtureRequest) -> Copy:
    found: Copy = request.getfixturevalue(request.param)
    return found


def run(backend: Path, program: str, *arguments: str, **environment: str) -> None:
    """Run a program of this Python's environment in the copy."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=backend,
        env={**os.environ, **environment, "PYTHONPATH": ".:..", "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = "\n".join(done.stdout.splitlines()[-60:])
    assert done.returncode == 0, f"the page, followed in a copy, fails in {program} {' '.join(arguments[:2])}:\n{said}"


def lines_of(guide: Guide, folder: str) -> int:
    return sum(len(block.added) for block in guide.blocks if block.path.startswith(folder))


def test_the_page_says_how_many_lines_it_takes() -> None:
    resource, whole = Guide(PAGE, until=REFERENCE), Guide(PAGE, until=RULE)
    for sentence, expected in (
        (r"new resource takes (\d+) lines in `backend/app/`", lines_of(resource, "backend/app/")),
        (r"(\d+) in `backend/tests/`", lines_of(resource, "backend/tests/")),
        (
            r"the reference from tasks takes (\d+) lines more",
            lines_of(whole, "backend/app/") - lines_of(resource, "backend/app/"),
        ),
        (r"its tests (\d+)\.", lines_of(whole, "backend/tests/") - lines_of(resource, "backend/tests/")),
    ):
        said = re.search(sentence, whole.text)
        assert said, f"{PAGE.name} no longer says how many lines it takes: {sentence}"
        assert int(said[1]) == expected, f"{PAGE.name} says {said[0]!r}: it takes {expected}"


def test_the_migrations_are_those_that_alembic_writes(with_example: Copy, postgres_server: postgres.Server) -> None:
    """Alembic writes each migration from the models of its part of the page, on a database with the earlier ones."""
    guide, backend = with_example
    shown = [block for block in guide.blocks if block.path.startswith("backend/migrations/")]
    assert shown, f"{PAGE.name} shows no migration"
    for number, block in enumerate(shown):
        database = f"{DATABASE}_{number}"
        postgres_server.create_database(database)
        settings = {"DATABASE_URL": postgres_server.url(database), "DATABASE_DIRECT_URL": ""}
        task = backend / "app" / "models" / "task.py"
        models = {task: task.read_text()}
        kept = {backend.parent / each.path: each.code for each in shown[number:]}
        if number < len(shown) - 1:
            # A later part of the page changes the model of tasks. Before that part, the model is unchanged.
            task.write_text((ROOT / "backend" / "app" / "models" / "task.py").read_text())
        for path in kept:
            path.unlink()
        [revision] = re.findall(r'(?m)^revision = "(\w+)"$', block.code)
        message = block.code.splitlines()[0].strip('"')
        try:
            run(backend, "alembic", "upgrade", "head", **settings)
            run(backend, "alembic", "revision", "--autogenerate", "-m", message, "--rev-id", revision, **settings)
            [written] = (backend / "migrations" / "versions").glob(f"*_{message.replace(' ', '_')}.py")
            text = written.read_text()
            written.unlink()
        finally:
            for path, code in {**models, **kept}.items():
                path.write_text(code)
            postgres_server.drop_database(database)
        # A person writes the reason why a step may lock a table.
        expected = re.sub(r"(?m)^ *# lock: .*\n", "", block.code)
        assert text == expected, f"{PAGE.name} shows another migration than `make migration` writes:\n{text}"


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(copy: Copy, command: tuple[str, ...]) -> None:
    run(copy.backend, *command)


def test_the_whole_suite_of_the_copy_passes(copy: Copy) -> None:
    run(copy.backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests")


def test_the_foundations_tests_of_the_resources_pass(with_example: Copy) -> None:
    run(with_example.backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", *FOUNDATION)


class TestTheGuideItself:
    """If the page no longer fits the repository, a sentence says what is wrong."""

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
