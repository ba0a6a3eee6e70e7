"""A renamed copy is whole: nothing of the old name is left, and it passes its own commands."""

import json
from pathlib import Path

import pytest

from groundwork.dev.names import Names
from groundwork.dev.repository import PROJECT, names_in
from groundwork.tests.template.conftest import NAME, OWNER, Repository, clone

# What the name can touch, and each layer once: the whole suite takes minutes.
PARTS = (
    "tests/core/test_settings.py tests/dev/test_names.py tests/deploy tests/http/test_openapi.py"
    " tests/http/test_health.py tests/isolation/test_isolation.py tests/process/test_dev.py"
)
NEW = Names.of(NAME)


@pytest.fixture(scope="session")
def old(template: Repository) -> Names:
    return names_in(template.text(PROJECT))


def test_nothing_of_the_old_name_is_left(project: Repository, old: Names) -> None:
    for _, form in old.forms():
        assert not project.run("git", "grep", "--ignore-case", form, check=False).stdout
        assert not [path for path in project.files() if form.lower() in path.lower()]


def test_the_new_name_and_holder_stand_where_people_look(project: Repository) -> None:
    assert project.text("README.md").startswith(f"# {NAME}\n")
    assert OWNER in project.text("LICENSE").splitlines()[2]
    assert f'title="{NAME}"' in project.text("backend/app/main.py")
    assert f"\nname: {NEW.slug}\n" in project.text("docker-compose.yml")


def test_a_copy_passes_its_own_checks(project: Repository) -> None:
    done = project.make("check")
    assert "Success: no issues found" in done.stdout


def test_a_copy_passes_its_own_tests(project: Repository) -> None:
    done = project.make("test", f"ARGS=-q {PARTS}", NO_CONTAINERS="1")
    assert " passed" in done.stdout.splitlines()[-1]
    assert "failed" not in done.stdout.splitlines()[-1]


def test_a_copy_can_be_renamed_again(project: Repository, tmp_path: Path) -> None:
    again = clone(project.folder, tmp_path / "again")
    again.make("init", "NAME=Green Harbour")
    assert not again.run("git", "grep", "--ignore-case", "blue.\\?harbour", check=False).stdout
    assert again.text("README.md").startswith("# Green Harbour\n")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Give it a name"),
        ("acme", "begins with a capital letter"),
        ('Acme\\\'s \\"Orders\\"', "only letters, digits"),
        ("Ab", "3 to 30"),
        ("Database", "is used in these files already"),
    ],
)
def test_a_name_that_cannot_be_used_is_said_in_one_line(
    template: Repository, tmp_path: Path, name: str, sentence: str
) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    done = copy.make("init", check=False, NAME=name)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not copy.git("status", "--porcelain")


def test_changes_that_are_not_committed_are_not_mixed_with_it(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    copy.change("README.md", lambda text: f"{text}\nMine.\n")
    done = copy.make("init", f"NAME={NAME}", check=False)
    assert "not committed" in done.stderr
    assert "Mine." in copy.text("README.md")
    assert "Traceback" not in done.stderr


def test_compose_calls_its_containers_image_and_database_after_the_project(project: Repository) -> None:
    done = project.run("docker", "compose", "--env-file", "/dev/null", "config", "--format", "json", check=False)
    if done.returncode:
        pytest.skip("docker compose is not installed")
    stack = json.loads(done.stdout)
    assert stack["name"] == NEW.slug
    assert stack["services"]["backend"]["image"] == f"{NEW.slug}-backend"
    assert stack["services"]["db"]["environment"]["POSTGRES_DB"] == NEW.slug
