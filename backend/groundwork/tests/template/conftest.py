"""The template, copied and made a project of its own: `make test-template`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from groundwork.dev.repository import FOUNDATION
from groundwork.tests.process.server import free_port

ROOT = Path(__file__).parents[4]
NAME = "Blue Harbour"
OWNER = "Harbour Works Ltd"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "template" in item.path.parts:
            item.add_marker("template")


@dataclass(frozen=True)
class Repository:
    """A repository for a test, and commands that run in it."""

    folder: Path

    @staticmethod
    def variables() -> dict[str, str]:
        """The environment of these commands."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        people = {
            f"GIT_{role}_{what}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        return {**kept, **people}

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env={**self.variables(), **variables}, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def make(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *arguments, check=check, **variables)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def files(self) -> list[str]:
        return self.git("ls-files").splitlines()

    def text(self, path: str) -> str:
        return (self.folder / path).read_text()

    def change(self, path: str, change: Callable[[str], str]) -> None:
        before = self.text(path)
        after = change(before)
        assert after != before, f"nothing changed in {path}"
        (self.folder / path).write_text(after)


def clone(source: Path, folder: Path, commit: str = "HEAD") -> Repository:
    """A clone with a branch `main` at that commit."""
    copy = Repository(folder)
    # The clone shares the objects, because the commit of uncommitted changes is on no branch.
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", "--shared", source, folder], check=True)
    copy.git("checkout", "--quiet", "-B", "main", commit)
    return copy


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """This repository as it is, with uncommitted changes. A test may commit to it."""
    here = Repository(ROOT)
    here.git("status")  # looks again at files that were only touched, which `stash create` takes for an error
    return clone(ROOT, tmp_path_factory.mktemp("template") / "template", here.git("stash", "create") or "HEAD")


@pytest.fixture(scope="session")
def project(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A clone of the template after `make init`, committed. It has this environment's packages."""
    return made_from(template, tmp_path_factory.mktemp("project") / "project", f"OWNER={OWNER}")


@pytest.fixture(scope="session")
def bare(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The project without the example."""
    return made_from(template, tmp_path_factory.mktemp("bare") / "project", "EXAMPLE=remove")


@pytest.fixture(params=["project", "bare"])
def either(request: pytest.FixtureRequest) -> Repository:
    """A project with the example, and one without."""
    copy: Repository = request.getfixturevalue(request.param)
    return copy


def made_from(template: Repository, folder: Path, *arguments: str) -> Repository:
    copy = clone(template.folder, folder)
    copy.make("init", f"NAME={NAME}", *arguments)
    copy.commit(f"{NAME}, from the template")
    lend_environment(copy)
    return copy


def lend_environment(copy: Repository) -> None:
    """Give the copy this environment's packages, and what mypy knows of them."""
    # The list of packages looks older than the environment, so nothing is installed again.
    (copy.folder / ".venv").symlink_to(ROOT / ".venv")
    os.utime(copy.folder / "backend/requirements-dev.txt", (0, 0))
    # With its cache, mypy does not analyse every library again. It finds what differs by hashes.
    if (ROOT / "backend/.mypy_cache").is_dir():
        shutil.copytree(ROOT / "backend/.mypy_cache", copy.folder / "backend/.mypy_cache")


def broken_links(copy: Repository) -> list[str]:
    """The links of the copy's pages that lead nowhere."""
    pages = [path for path in copy.files() if path.endswith(".md")]
    owned = [path for path in pages if not path.startswith(FOUNDATION) or path.startswith(f"{FOUNDATION}docs/")]
    # GitHub makes the pages of actions, so they are not files.
    pattern = r"\]\((?!\.\./\.\./actions/)([^):#]+)[^):]*\)"
    links = [(page, link) for page in owned for link in re.findall(pattern, copy.text(page))]
    return [f"{link} in {page}" for page, link in links if not (copy.folder / page).parent.joinpath(link).exists()]


@contextmanager
def served(copy: Repository) -> Iterator[str]:
    """The project, served by its `make run`. Yields the address."""
    port = str(free_port())
    process = subprocess.Popen(
        ["make", "run", f"PORT={port}"], cwd=copy.folder, env={"PATH": os.environ["PATH"]}, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        ready = ["curl", "--silent", "--fail", "--retry", "60", "--retry-delay", "1", "--retry-connrefused"]
        assert json.loads(copy.run(*ready, f"{url}/health/ready").stdout) == {"status": "ok"}
        yield url
    finally:
        process.terminate()
        process.wait(30)
