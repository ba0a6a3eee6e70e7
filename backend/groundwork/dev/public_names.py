"""Refuses imports of the library's names that its page does not list.

A service imports the names in the table of `groundwork/README.md` and no others. All other names may change with any
version of the library, and `make update` would then break the service.

`.ci/check` runs this file in the service's folder: `python -m groundwork.dev.public_names`.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

LIBRARY = Path(__file__).parents[1]
CHECKED = ("app/**/*.py", "tests/**/*.py", "migrations/env.py")
_ROW = re.compile(r"\| `(groundwork[\w.]*)` \| (.+?) \|")


class Import(NamedTuple):
    """An import of a name of the library, or of a whole module."""

    line: int
    module: str
    name: str
    """`*` for all names of the module, "" for the module itself."""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


def listed() -> dict[str, list[str]]:
    """The names in the table, by the module that they are imported from. An empty list stands for all its names."""
    return {
        module: re.findall(r"`(\w+)`", names) for module, names in _ROW.findall((LIBRARY / "README.md").read_text())
    }


def refused(source: Path, public: Mapping[str, list[str]]) -> list[Import]:
    """The imports in a file that the table does not list."""
    return [each for each in _imports(source) if not _is_listed(each, public)]


def _imports(source: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found = [Import(node.lineno, node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [Import(node.lineno, alias.name, "") for alias in node.names]
        else:
            continue
        yield from (each for each in found if each.module.partition(".")[0] == LIBRARY.name)


def _is_listed(import_: Import, public: Mapping[str, list[str]]) -> bool:
    if str(import_) in public:
        return True
    names = public.get(import_.module)
    return names is not None and (not names or import_.name in names)


def problems(backend: Path) -> list[str]:
    """What a service imports and should not, a line for each."""
    public = listed()
    return [
        f"{source.relative_to(backend).as_posix()}:{found.line}: {found} is no public name of the library"
        for pattern in CHECKED
        for source in sorted(backend.glob(pattern))
        for found in refused(source, public)
    ]


def main() -> None:
    found = problems(Path.cwd())
    if found:
        sys.exit(
            "\n".join(found)
            + "\nImport only the names that the table in groundwork/README.md lists: all others may change at any time."
        )


if __name__ == "__main__":
    main()
