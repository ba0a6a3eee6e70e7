"""The compiled requirements are what pyproject.toml asks for."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

BACKEND = Path(__file__).parents[2]
LOAD = "../loadtests/requirements.txt"
EDITOR = "groundwork/tests/requirements-editor.txt"


def pinned(name: str) -> dict[str, str]:
    lines = (BACKEND / name).read_text().splitlines()
    return dict(match.groups() for line in lines if (match := re.match(r"([\w.-]+)==(\S+)", line)))  # type: ignore[misc]


def wanted() -> list[tuple[str, str]]:
    project: dict[str, Any] = tomllib.loads((BACKEND / "pyproject.toml").read_text())
    service, groups = project["project"]["dependencies"], project["dependency-groups"]
    return [
        *(("requirements.txt", line) for line in service),
        *(("requirements-dev.txt", line) for line in service + groups["dev"]),
        *((LOAD, line) for line in groups["load"]),
        *((EDITOR, line) for line in groups["editor"]),
    ]


@pytest.mark.parametrize(("file", "line"), wanted())
def test_every_dependency_is_pinned_within_its_range(file: str, line: str) -> None:
    requirement = Requirement(line)
    version = pinned(file).get(requirement.name, "")
    assert version, f"{requirement.name} is not in {file}: run `make lock`"
    assert requirement.specifier.contains(version), f"{requirement.name} {version} in {file}: run `make lock`"


@pytest.mark.parametrize("name", ["asyncpg", "fastapi", "sqlalchemy", "starlette", "uvicorn"])
def test_versions_that_nobody_has_tried_are_out_of_range_where_private_names_are_used(name: str) -> None:
    (line,) = [line for file, line in wanted() if file == "requirements.txt" and Requirement(line).name == name]
    assert {each.operator for each in Requirement(line).specifier} == {">=", "<"}


def test_the_newest_versions_are_tried_without_upper_bounds(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / "backend").mkdir()
    shutil.copy(BACKEND.parent / ".ci/newest", tmp_path / ".ci")
    project = (BACKEND / "pyproject.toml").read_text()
    (tmp_path / "backend/pyproject.toml").write_text(project)
    (tmp_path / "make").write_text('#!/bin/sh\necho "make $*"\n')
    (tmp_path / "make").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([".ci/newest"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "make lock ARGS=--upgrade\n" in done.stdout
    before, after = project.splitlines(), (tmp_path / "backend/pyproject.toml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) >= 5
    for old, new in changed:
        assert re.sub(r",<[\d.]+", "", old) == new


def test_development_runs_the_versions_that_production_runs() -> None:
    assert pinned("requirements.txt").items() <= pinned("requirements-dev.txt").items()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", LOAD, EDITOR])
def test_every_version_has_hashes_and_no_download_address(file: str) -> None:
    text = (BACKEND / file).read_text()
    versions = re.findall(r"^[\w.-]+==.*\n.*", text, re.MULTILINE)
    assert versions
    assert all("--hash=sha256:" in version for version in versions)
    assert "://" not in text
