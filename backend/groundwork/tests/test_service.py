"""The service stays small enough to be read in ten minutes, and uses only public names of the library."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path

import pytest

from groundwork.dev import public_names

BACKEND = Path(__file__).parents[2]
APP = BACKEND / "app"
DOCS = BACKEND.parent / "docs"
LINES = 500
MAIN_LINES = 45
# An import in a block of code, which may be a diff.
_IMPORT = re.compile(r"(?m)^\+?(from groundwork\S* import (?:\([^)]*\)|.+))$")


PUBLIC = public_names.listed()
SOURCES = sorted(APP.rglob("*.py"))
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(BACKEND)))


def imports(source: Path) -> Iterator[tuple[str, str]]:
    """Each import as a module and the imported name, which is empty for a whole module."""
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


def test_the_service_imports_what_the_librarys_page_lists(capfd: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "groundwork.dev.public_names"], cwd=BACKEND, check=False)
    assert (done.returncode, *capfd.readouterr()) == (0, "", "")


@pytest.mark.parametrize(
    "page", sorted([*DOCS.glob("*.md"), *(BACKEND / "groundwork" / "docs").glob("*.md")]), ids=lambda page: page.stem
)
def test_what_the_pages_show_imports_what_the_librarys_page_lists(page: Path, tmp_path: Path) -> None:
    source = tmp_path / "block.py"
    source.write_text("\n".join(_IMPORT.findall(page.read_text())))
    assert [str(each) for each in public_names.refused(source, PUBLIC)] == []


def write(backend: Path, file: str, text: str) -> None:
    (backend / file).parent.mkdir(parents=True, exist_ok=True)
    (backend / file).write_text(text)


@pytest.mark.parametrize("file", ["app/main.py", "app/core/extra/more.py", "tests/test_own.py", "migrations/env.py"])
def test_other_names_are_refused_wherever_a_copy_uses_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    write(tmp_path, file, "import re\n\nfrom groundwork.data.pool import Pool\nfrom groundwork.ids import uuid7\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        public_names.main()
    assert str(ended.value) == (
        f"{file}:3: groundwork.data.pool.Pool is no public name of the library\n"
        "Import only the names that the table in groundwork/README.md lists: all others may change at any time."
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import groundwork", ["groundwork"]),
        ("import groundwork.data.pool as pool", ["groundwork.data.pool"]),
        ("from groundwork.data import pool", ["groundwork.data.pool"]),
        ("from groundwork.fast import fast_routes", ["groundwork.fast.fast_routes"]),
        ("from groundwork.ids import *", ["groundwork.ids.*"]),
        ("def f():\n    from groundwork.ids import uuid7, _last", ["groundwork.ids._last"]),
        ("import groundwork.ids", []),
        ("from groundwork import errors, ids", []),
        ("from groundwork.testing.contract import *", []),
        ("from groundwork.testing.contract import test_the_document_is_served", []),
        ("import groundworks", []),
        ("from . import groundwork", []),
    ],
)
def test_each_form_of_import_is_seen(tmp_path: Path, line: str, named: list[str]) -> None:
    write(tmp_path, "block.py", line)
    assert [str(each) for each in public_names.refused(tmp_path / "block.py", PUBLIC)] == named


@pytest.mark.parametrize("module", PUBLIC)
def test_each_public_name_exists_and_is_described(module: str) -> None:
    imported = import_module(module)
    assert imported.__doc__, f"{module} has no docstring"
    for name in PUBLIC[module]:
        value = getattr(imported, name)
        # The page itself explains constants.
        if isclass(value) or isroutine(value):
            # A docstring that comes from a base class does not count.
            assert value.__doc__, f"{module}.{name} has no docstring"
