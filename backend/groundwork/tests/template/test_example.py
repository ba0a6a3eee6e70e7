"""`make init EXAMPLE=remove`: a project without the example is complete, and updates do not bring it back."""

import json
from pathlib import Path

import pytest

from groundwork.dev.example import FILES, LINES
from groundwork.dev.repository import FOUNDATION
from groundwork.tests.template.conftest import NAME, Repository, clone, served


def test_what_goes_is_what_is_named_after_tasks_and_their_example_data(template: Repository) -> None:
    parts = ("backend/app/", "backend/migrations/", "backend/tests/", "loadtests/")
    named = [path for path in template.files() if path.startswith(parts) and "task" in path]
    assert sorted([*named, "backend/app/seed.py"]) == sorted(FILES)


def test_a_few_lines_name_them(template: Repository) -> None:
    assert all(old in template.text(path) for path, changes in LINES.items() for old, _ in changes)


def test_nothing_of_the_service_speaks_of_it(bare: Repository) -> None:
    assert not [path for path in bare.files() if "task" in path.lower() and not path.startswith(FOUNDATION)]
    speaking = bare.run(
        "git", "grep", "-liE", r"\btasks?\b", "--", "backend", f":!{FOUNDATION}", ":!*.md", ":!*/requirements*.txt",
        check=False,
    ).stdout  # fmt: skip
    # asyncio has tasks too.
    assert not [path for path in speaking.splitlines() if "asyncio" not in bare.text(path)]
    assert "task" not in bare.text("README.md").lower()


def test_it_serves_without_the_example(bare: Repository) -> None:
    with served(bare) as url:
        document = bare.run("curl", "--silent", "--fail", f"{url}/openapi.json").stdout
        assert list(json.loads(document)["paths"]) == ["/health/live", "/health/ready"]
        assert "task" not in document.lower()
        assert '"status": 404' in bare.run("curl", "--silent", f"{url}/api/alice/tasks").stdout


def test_a_load_test_says_what_it_needs(bare: Repository) -> None:
    done = bare.run(".venv/bin/python", "-m", "loadtests.run", check=False, PYTHONPATH="backend")
    assert done.stderr.startswith("There are no users to simulate yet")
    assert done.returncode == 1


def test_an_update_leaves_the_example_out(template: Repository, bare: Repository, tmp_path: Path) -> None:
    upstream = clone(template.folder, tmp_path / "upstream")
    project = clone(bare.folder, tmp_path / "project")
    project.change("README.md", lambda text: f"{text}\nOurs.\n")
    project.commit("Ours")
    upstream.change("backend/app/services/tasks.py", lambda text: f"{text}\n# New.\n")
    upstream.change("backend/groundwork/tests/http/test_tasks.py", lambda text: f"{text}\n# New.\n")
    upstream.change("backend/groundwork/ids.py", lambda text: f"{text}\n# New.\n")
    upstream.change("README.md", lambda text: text.replace("## A session\n", "## A session\n\nNew.\n"))
    upstream.commit("Changes in the example and beside it")

    project.make("update", f"TEMPLATE={upstream.folder}")

    assert project.git("diff", "--name-only", "HEAD^").splitlines() == [".template", "backend/groundwork/ids.py"]
    assert project.text("backend/groundwork/ids.py").endswith("# New.\n")


@pytest.mark.parametrize(
    ("example", "path", "sentence"),
    [
        ("no", None, "EXAMPLE must be keep"),
        ("remove", "backend/app/main.py", "backend/app/main.py is no longer as it was"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    template: Repository, tmp_path: Path, example: str, path: str | None, sentence: str
) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    if path:
        copy.change(path, lambda text: text.replace("            tasks,\n", "            tasks,  # Ours.\n"))
        copy.commit("Ours")
    done = copy.make("init", f"NAME={NAME}", f"EXAMPLE={example}", check=False)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not copy.git("status", "--porcelain")


def test_what_is_removed_is_not_removed_again(bare: Repository, tmp_path: Path) -> None:
    copy = clone(bare.folder, tmp_path / "copy")
    done = copy.make("init", "NAME=Green Harbour", "EXAMPLE=remove", check=False)
    assert "removed already" in done.stderr
    assert not copy.git("status", "--porcelain")
