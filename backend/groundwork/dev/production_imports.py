"""Refuses imports of packages that production does not have.

The development environment has the packages of the group `dev` too, httpx for example. A service that imports one
passes every other check and every test, and fails in the image, which has the packages of `requirements.txt` alone.

The package deptry does nearly the same. It is not used, because it reads `pyproject.toml` instead of the compiled list:
it either refuses pydantic, which FastAPI brings, or allows httpcore, which only httpx brings. And it takes all packages
of a namespace for one, such as those of OpenTelemetry.

`.ci/check` runs this file in the service's folder: `python -m groundwork.dev.production_imports`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import files, packages_distributions
from pathlib import Path

CHECKED = ("app/**/*.py", "groundwork/**/*.py", "migrations/**/*.py", "*.py")
NOT_CHECKED = re.compile(r"groundwork/(dev|testing|tests)/|app/seed\.py|conftest\.py")
"""What production does not import. `app/seed.py` is what `make seed` runs."""
EXCEPTIONS = {
    ("groundwork/http/socket_protocol.py", "websockets"): (
        "Only a service with WEBSOCKETS=true imports it, and docs/streams.md says that it has to add the package."
    ),
}
"""The allowed imports, by file and module, each with its reason."""

_REQUIREMENT = re.compile(r"^[a-zA-Z0-9][\w.-]*", re.MULTILINE)
_TYPING_ONLY = re.compile(r"(\w+\.)?TYPE_CHECKING")
_INSTALLED = packages_distributions()


def refusals(backend: Path) -> Iterator[str]:
    """A sentence for each import that would fail in production. An `import_module("…")` is not seen."""
    required = {*map(_normalized, _REQUIREMENT.findall((backend / "requirements.txt").read_text("utf-8")))}
    own = {path.stem for path in backend.iterdir() if path.is_dir() or path.suffix == ".py"} | {"groundwork"}
    for source in sorted({path for pattern in CHECKED for path in backend.glob(pattern)}):
        file = source.relative_to(backend).as_posix()
        if NOT_CHECKED.match(file):
            continue
        imports = _imports(ast.parse(source.read_text("utf-8"), file))
        # `from httpx import Client, Timeout` is one.
        for line, module, packages in sorted({(line, module, _packages(name)) for line, module, name in imports}):
            top = module.partition(".")[0]
            known = top in own or top in sys.stdlib_module_names or (file, top) in EXCEPTIONS
            if not known and required.isdisjoint(packages):
                yield (
                    f"{file}:{line}: {module} is not installed in production: add {packages[0]} to `dependencies`"
                    " under [project] in backend/pyproject.toml, then run `make lock`."
                )


def _imports(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """The imports that happen at run time, in functions too: the line, the module, and what is imported of it."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.lineno, node.module, f"{node.module}.{alias.name}") for alias in node.names)
        if isinstance(node, ast.If) and _TYPING_ONLY.fullmatch(ast.unparse(node.test)):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _packages(name: str) -> tuple[str, ...]:
    """The packages that have the module: several if they share it. One that is not installed has the module's name."""
    top = name.partition(".")[0]
    found = _INSTALLED.get(top, [top])
    path = name.replace(".", "/")
    while len(found) > 1 and "/" in path:
        beginnings = f"{path}/", f"{path}."
        holding = [each for each in found if any(str(file).startswith(beginnings) for file in files(each) or ())]
        found, path = holding or found, path.rpartition("/")[0]
    return tuple(map(_normalized, found))


def _normalized(name: str) -> str:
    """The form in which compiled requirements have the name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    found = list(refusals(Path.cwd()))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
