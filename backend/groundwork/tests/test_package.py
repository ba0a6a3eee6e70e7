"""What the package's metadata says about the library is true."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import groundwork

BACKEND = Path(__file__).parents[2]
LIBRARY = BACKEND / "groundwork"
SERVICE: dict[str, Any] = tomllib.loads((BACKEND / "pyproject.toml").read_text())
PACKAGE: dict[str, Any] = tomllib.loads((LIBRARY / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PACKAGE["optional-dependencies"]
# The extra that a folder needs. All other folders need only the package's own dependencies.
NEEDS = {"dev": "dev", "testing": "testing"}


def test_it_asks_for_the_versions_that_were_tested() -> None:
    assert PACKAGE["dependencies"] == SERVICE["project"]["dependencies"]


@pytest.mark.parametrize("line", sorted({line for extra in EXTRAS.values() for line in extra}))
def test_an_extra_asks_for_the_version_that_was_tested(line: str) -> None:
    assert line in SERVICE["dependency-groups"]["dev"]


def test_the_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (LIBRARY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == groundwork.__version__


def installed_by(lines: list[str]) -> set[str]:
    """The installed distributions that these requirements bring."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(line) for line in importlib.metadata.requires(name) or ()]
    return found


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_what_is_imported_is_asked_for(extra: str | None) -> None:
    brought = installed_by([*PACKAGE["dependencies"], *EXTRAS.get(extra or "", [])])
    distributions = importlib.metadata.packages_distributions()
    paths = [path.relative_to(LIBRARY) for path in LIBRARY.rglob("*.py")]
    mine = [path for path in paths if path.parts[0] != "tests" and NEEDS.get(path.parts[0]) == extra]
    for path in mine:
        for name in set(imported(LIBRARY / path)) - sys.stdlib_module_names - {"groundwork"}:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
            # An extra may have the name of the package that it brings: only a setting imports it.
            assert owners & (brought | EXTRAS.keys()), (
                f"{path} imports {name}: name its package in groundwork/pyproject.toml"
            )
