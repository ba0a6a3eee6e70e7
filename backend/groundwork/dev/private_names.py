"""Refuses private names of dependencies outside the few files that may use them.

A name with a leading underscore can change in any release of its package. So the code that uses such names is kept
together: in `groundwork/fast/`, which a service can switch off, and in a few files of `groundwork/data/` that extend
SQLAlchemy's compiler and are checked when they are imported.

`.ci/check` runs this file: `python -m groundwork.dev.private_names`.
"""

import ast
import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# The service's folder, in which `.ci/check` runs this. The library is checked only if it is in this folder.
BACKEND = Path.cwd()
CHECKED = ("app", "groundwork", "migrations", "*.py")
NOT_CHECKED = ("groundwork/tests",)
"""Tests may use private names of what they test."""

ALLOWED = (
    "groundwork/fast",
    "groundwork/data/guard_compiler.py",
    "groundwork/data/guarded.py",
    "groundwork/data/guarded_writes.py",
    "groundwork/data/statement.py",
)
"""Folders and files that may use private names."""

EXCEPTIONS = {
    ("groundwork/data/prepared_statements.py", "_get_unique_id"): (
        "asyncpg has no public way to name the statements that it prepares by itself. The file checks at import that"
        " asyncpg still calls the method."
    ),
    ("groundwork/data/prepared_statements.py", "_get_statement"): (
        "asyncpg has no public way to keep some statements prepared and others not, or to keep one under another text."
        " The file checks at import that asyncpg still calls the method, and that it calls the one above."
    ),
    ("groundwork/data/prepared_statements.py", "_do_execute"): "The same check looks into this method.",
    ("groundwork/data/address.py", "_stmts_to_close"): (
        "asyncpg has no public way to forget a prepared statement. It would close the one that finds out about the"
        " pooler during a request, at the cost of a round trip, and perhaps in another session."
    ),
    **{
        ("groundwork/data/kept_texts.py", name): (
            "SQLAlchemy has no public way to give a statement with RETURNING other columns, or to see DISTINCT."
            " Without the name, every test through a pooler that tracks statements fails."
        )
        for name in ("_returning", "_generate", "_distinct", "_distinct_on")
    },
    ("groundwork/data/keyed_insert.py", "_values"): (
        "SQLAlchemy has no public way to see what an insert writes. Without the name, the module's tests fail."
    ),
    ("groundwork/http/routes_snapshot.py", "_routes_version"): (
        "FastAPI has no public way to tell that routes were added below an included router. Without the name, a test"
        " of routes that are added later fails."
    ),
    ("groundwork/data/target.py", "_transport"): (
        "asyncpg has no public way to the socket of a connection, and opens it by itself. Without the options that are"
        " set on it, the loss of a database host is noticed only after a quarter of an hour."
    ),
    ("groundwork/observe/tracing.py", "_root"): (
        "OpenTelemetry's ParentBased sampler does not show its root sampler. Without the attribute, the sampler itself"
        " is used."
    ),
}
"""The allowed uses elsewhere, by file and name, each with its reason."""

# The standard library and SQLAlchemy document these names. The underscore only distinguishes them from fields.
_DOCUMENTED = frozenset(
    {"_asdict", "_exit", "_field_defaults", "_fields", "_getframe", "_make", "_mapping", "_replace"}
)
_FIRST_PARTY = frozenset({"app", "groundwork", "loadtests", "migrations"})
_BY_NAME = frozenset({"getattr", "hasattr", "setattr", "delattr"})
_OWN = frozenset({"self", "cls"})


class Use(NamedTuple):
    """A private name that is used where it may not be."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}"


@dataclass
class _Class:
    node: ast.ClassDef
    module: "_Module"
    names: set[str] = field(default_factory=set)
    """Private names that the class itself defines."""


@dataclass
class _Module:
    file: str
    tree: ast.Module
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """For each local name: the module that it stands for, or the module and the name in it."""
    classes: dict[str, _Class] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Private names that the module or one of its classes defines."""


def find(root: Path, checked: Iterable[str] = CHECKED) -> list[Use]:
    """The private names of dependencies that the files below `root` use, in the allowed places too.

    Args:
        checked: folders, and patterns of file names, from `root`.
    """
    modules = {_dotted(path.relative_to(root)): _read(path, root) for path in sorted(_files(root, checked))}
    return [use for module in modules.values() for use in _Finder(module, modules).uses()]


def refused(uses: Iterable[Use]) -> list[Use]:
    """The uses that are neither in an allowed place nor in the list of exceptions."""
    return [use for use in uses if not _is_in(use.file, ALLOWED) and (use.file, use.name) not in EXCEPTIONS]


def unused_exceptions(uses: Iterable[Use]) -> list[tuple[str, str]]:
    """Exceptions for names that their file does not use any more."""
    return sorted(EXCEPTIONS.keys() - {(use.file, use.name) for use in uses})


def _files(root: Path, checked: Iterable[str]) -> set[Path]:
    patterns = [each if "*" in each else f"{each}/**/*.py" for each in checked]
    found = {path for pattern in patterns for path in root.glob(pattern)}
    return {path for path in found if not _is_in(path.relative_to(root).as_posix(), NOT_CHECKED)}


def _is_in(file: str, places: Iterable[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") for place in places)


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _is_private(name: str) -> bool:
    return name.startswith("_") and name.strip("_") != "" and not name.startswith("__") and name not in _DOCUMENTED


def _read(path: Path, root: Path) -> _Module:
    module = _Module(path.relative_to(root).as_posix(), ast.parse(path.read_text(), str(path)))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound, full = (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
                module.imports[bound] = full, None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module.imports[alias.asname or alias.name] = node.module or "", alias.name
        elif isinstance(node, ast.ClassDef):
            module.classes[node.name] = _Class(node, module, set(_defined(node)))
    module.names = set(_defined(module.tree))
    return module


def _defined(tree: ast.AST) -> Iterator[str]:
    """Names of functions, methods and attributes that this code makes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
            yield node.attr


def _is_own(value: ast.expr) -> bool:
    """Whether it is `self`, `cls` or `super()`."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in _OWN


class _Finder:
    """Searches one module. The other modules are needed for the base classes of its classes."""

    def __init__(self, module: _Module, modules: dict[str, _Module]) -> None:
        self._module = module
        self._modules = modules

    def uses(self) -> Iterator[Use]:
        yield from self._in(self._module.tree, None)

    def _in(self, node: ast.AST, class_: _Class | None) -> Iterator[Use]:
        if isinstance(node, ast.ClassDef):
            class_ = self._module.classes[node.name]
            for line, name in self._overridden(class_):
                yield Use(self._module.file, line, name)
        for name in self._used(node, class_):
            yield Use(self._module.file, getattr(node, "lineno", 0), name)
        for child in ast.iter_child_nodes(node):
            yield from self._in(child, class_)

    def _used(self, node: ast.AST, class_: _Class | None) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_foreign_and_private(alias.name))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if _is_foreign_and_private(f"{node.module}.{alias.name}"):
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if _is_own(node.value) and class_ is not None:
                known = node.attr in self._own_names(class_) and not isinstance(node.value, ast.Call)
            else:
                known = node.attr in self._module.names
            if not known:
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            name = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else None
            if isinstance(name, str) and _is_private(name) and name not in self._module.names:
                yield name

    def _own_names(self, class_: _Class) -> set[str]:
        """Private names of the class and of the classes of this repository that it inherits from."""
        names = set(class_.names)
        for base in class_.node.bases:
            found = self._resolve(base, class_.module)
            if isinstance(found, _Class):
                names |= self._own_names(found)
        return names

    def _overridden(self, class_: _Class) -> Iterator[tuple[int, str]]:
        """Private names that the class defines and that a dependency's base class has too."""
        foreign = list(self._foreign_bases(class_))
        for node in class_.node.body:
            targets: list[str] = []
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                targets = [node.name]
            elif isinstance(node, ast.Assign):
                targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                targets = [node.target.id]
            for name in targets:
                if _is_private(name) and any(hasattr(base, name) for base in foreign):
                    yield node.lineno, name

    def _foreign_bases(self, class_: _Class) -> Iterator[object]:
        for base in class_.node.bases:
            found = self._resolve(base, class_.module)
            if isinstance(found, _Class):
                yield from self._foreign_bases(found)
            elif found is not None:
                yield found

    def _resolve(self, base: ast.expr, module: _Module) -> object:
        """The base class: a `_Class` of this repository, or a dependency's class; None for a built-in class."""
        if isinstance(base, ast.Subscript):
            base = base.value
        path = ast.unparse(base).split(".")
        if len(path) == 1 and path[0] in module.classes:
            return module.classes[path[0]]
        if path[0] not in module.imports:
            return None
        origin, name = module.imports[path[0]]
        attributes = path[1:] if name is None else [name, *path[1:]]
        if origin.partition(".")[0] in _FIRST_PARTY:
            home = self._modules.get(origin)
            return home.classes.get(attributes[-1]) if home and attributes else None
        try:
            found: object = importlib.import_module(origin)
        except ModuleNotFoundError:
            return None  # a package that only a setting needs, and that this project does not have
        for attribute in attributes:
            found = getattr(found, attribute)
        return found


def _is_foreign_and_private(dotted: str) -> bool:
    first, *others = dotted.split(".")
    return first not in _FIRST_PARTY and any(map(_is_private, (first, *others)))


def main() -> None:
    uses = find(BACKEND)
    found = refused(uses)
    problems = [f"{use}: a private name of a dependency" for use in found]
    if any(use.file.startswith("groundwork/") for use in found):
        problems.append(
            "Use a public name instead. Where there is none, the code belongs to groundwork/fast/, or the name to"
            " EXCEPTIONS in groundwork/dev/private_names.py, with the reason."
        )
    elif found:
        problems.append("Use a public name instead. A private one can change in any release.")
    problems += [
        f"{file} does not use {name}: remove it from EXCEPTIONS in groundwork/dev/private_names.py"
        for file, name in unused_exceptions(uses)
        if (BACKEND / file).exists()
    ]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
