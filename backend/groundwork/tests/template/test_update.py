"""What changes in the template later can be merged into a project that was made from it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from groundwork.dev.names import Names
from groundwork.dev.repository import PROJECT, names_in
from groundwork.tests.template.conftest import NAME, Repository, clone


@pytest.fixture
def upstream(template: Repository, tmp_path: Path) -> Repository:
    """The template, which this test may change."""
    return clone(template.folder, tmp_path / "upstream")


def cloned(upstream: Repository, folder: Path) -> Repository:
    return clone(upstream.folder, folder)


def used_as_template(upstream: Repository, folder: Path) -> Repository:
    """As by the button "Use this template": the same files in one commit, and nothing of the history."""
    copy = Repository(folder)
    shutil.copytree(upstream.folder, folder, ignore=shutil.ignore_patterns(".git"))
    copy.git("init", "--quiet", "--initial-branch=main")
    copy.commit("Initial commit")
    return copy


def change_everywhere(upstream: Repository) -> None:
    """A new file, and changes on and beside lines that hold the name, and in places that do not."""
    names = names_in(upstream.text(PROJECT))
    upstream.change("README.md", lambda text: text.replace(f"# {names.title}\n", f"# {names.title}\n\nA new line.\n"))
    upstream.change(
        "docker-compose.yml", lambda text: text.replace(f"name: {names.slug}\n", f"name: {names.slug}\n# New.\n")
    )
    upstream.change("backend/app/main.py", lambda text: text.replace('version="0.1.0"', 'version="0.2.0"'))
    upstream.change("backend/requirements.txt", lambda text: f"{text}# new\n")
    upstream.change("deploy/kubernetes/production/kustomization.yaml", lambda text: text.replace("0.1.0", "0.2.0"))
    (upstream.folder / f"deploy/{names.slug}.service").write_text(
        f"Description={names.title}\nUser={names.identifier}_user\n"
    )
    upstream.commit("Changes everywhere")


@pytest.mark.parametrize("copied", [cloned, used_as_template])
def test_an_update_brings_the_changes_under_the_projects_name(
    upstream: Repository, tmp_path: Path, copied: Callable[[Repository, Path], Repository]
) -> None:
    project = copied(upstream, tmp_path / "project")
    new = Names.of(NAME)
    project.make("init", f"NAME={NAME}", "OWNER=Harbour Works Ltd")
    project.change("backend/app/main.py", lambda text: text.replace("_DESCRIPTION = ", "OURS = True\n_DESCRIPTION = "))
    project.commit("Ours")
    change_everywhere(upstream)

    done = project.make("update", f"TEMPLATE={upstream.folder}")

    assert "Merged: " in done.stdout
    assert not project.git("status", "--porcelain")
    assert project.text("README.md").startswith(f"# {NAME}\n\nA new line.\n")
    assert "Harbour Works Ltd" in project.text("LICENSE")
    assert 'version="0.2.0"' in project.text("backend/app/main.py")
    assert "OURS = True" in project.text("backend/app/main.py")
    assert project.text(f"deploy/{new.slug}.service") == f"Description={NAME}\nUser={new.identifier}_user\n"
    old = names_in(upstream.text(PROJECT))
    assert not project.run("git", "grep", "--ignore-case", old.slug, check=False).stdout
    assert "Nothing new" in project.make("update").stdout

    upstream.change("README.md", lambda text: f"{text}\nThe end.\n")
    upstream.commit("One more")
    project.make("update")
    assert project.text("README.md").endswith("The end.\n")


def test_a_line_that_both_have_changed_is_left_to_the_person(upstream: Repository, tmp_path: Path) -> None:
    project = cloned(upstream, tmp_path / "project")
    project.make("init", f"NAME={NAME}")
    project.change("backend/app/main.py", lambda text: text.replace('version="0.1.0"', 'version="7.0.0"'))
    project.commit("Ours")
    change_everywhere(upstream)

    done = project.make("update", f"TEMPLATE={upstream.folder}", check=False)
    assert done.returncode
    assert "mend them" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.git("diff", "--name-only", "--diff-filter=U") == "backend/app/main.py"

    project.git("checkout", "--ours", "backend/app/main.py")
    project.commit("Update")
    assert "Nothing new" in project.make("update").stdout
    assert 'version="7.0.0"' in project.text("backend/app/main.py")
    assert project.text("README.md").startswith(f"# {NAME}\n\nA new line.\n")


@pytest.mark.parametrize(("address", "sentence"), [("", "make update TEMPLATE="), ("/nowhere", "could not be fetched")])
def test_a_template_that_is_not_there_is_said_in_a_line(upstream: Repository, address: str, sentence: str) -> None:
    done = upstream.make("update", f"TEMPLATE={address}", check=False)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
