"""The service stays what a reader reads in ten minutes, and stands on the foundation's public names alone."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc, isclass, isroutine
from pathlib import Path

import pytest

BACKEND = Path(__file__).parents[2]
APP = BACKEND / "app"
PAGE = BACKEND / "groundwork" / "README.md"
LINES = 500
MAIN_LINES = 45
_ROW = re.compile(r"\| `(groundwork[\w.]*)` \| (.+?) \|")


def public_names() -> dict[str, list[str]]:
    """The names in the library's page, by the module that they are imported from."""
    return {module: re.findall(r"`(\w+)`", names) for module, names in _ROW.findall(PAGE.read_text())}


PUBLIC = public_names()
SOURCES = sorted(APP.rglob("*.py"))
# What else of a copy uses the library.
BESIDE = [*sorted((BACKEND / "tests").rglob("*.py")), BACKEND / "migrations" / "env.py"]
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(BACKEND)))


def imports(source: Path) -> Iterator[tuple[str, str]]:
    """Each import as a module and the name that is taken from it, which is empty for a whole module."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def test_the_service_is_short() -> None:
    lines = {source.relative_to(APP): len(source.read_text().splitlines()) for source in SOURCES}
    assert sum(lines.values()) <= LINES, lines
    assert lines[Path("main.py")] <= MAIN_LINES


def test_the_service_has_its_settings_and_its_database_in_their_places() -> None:
    assert {"config.py", "database.py"} <= {source.name for source in (APP / "core").iterdir()}


@each_source
def test_the_service_imports_no_private_name(source: Path) -> None:
    for module, name in imports(source):
        assert not any(part.startswith("_") for part in (*module.split("."), name)), f"{module} {name}"


@each_source
def test_the_service_uses_no_private_attribute(source: Path) -> None:
    tree = ast.parse(source.read_text())
    private = [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    ]
    assert not private


@pytest.mark.parametrize("source", [*SOURCES, *BESIDE], ids=lambda source: str(source.relative_to(BACKEND)))
def test_the_service_imports_what_the_librarys_page_lists(source: Path) -> None:
    for module, name in imports(source):
        if module.split(".")[0] == "groundwork":
            listed = (
                f"{module}.{name}" in PUBLIC or name in PUBLIC.get(module, []) or (name == "*" and module in PUBLIC)
            )
            assert listed, f"{module} {name}"


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_exists_and_is_described(module: str) -> None:
    imported = import_module(module)
    assert imported.__doc__, f"{module} has no docstring"
    for name in PUBLIC[module]:
        value = getattr(imported, name)
        # What a constant is for stands in the page itself.
        if isclass(value) or isroutine(value):
            assert getdoc(value), f"{module}.{name} has no docstring"
