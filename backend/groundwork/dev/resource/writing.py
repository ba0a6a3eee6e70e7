"""Writes a resource's files, and takes them out again while they are as they were written."""

import ast
from collections.abc import Iterator
from functools import partial
from typing import TypeGuard

from groundwork.dev.resource import edits, reference
from groundwork.dev.resource.contract import entry as entry_of
from groundwork.dev.resource.contract import tests
from groundwork.dev.resource.description import Resource, tried
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.model import enum, enum_module, model
from groundwork.dev.resource.reference import Target, targets_of
from groundwork.dev.resource.routes import routes
from groundwork.dev.resource.schema import schema
from groundwork.dev.resource.service import service
from groundwork.dev.resource.tree import Tree, formatted

MODELS, MAIN, TABLE = "app/models/__init__.py", "app/main.py", "tests/resources.py"
# What a group's resource is built on, by file. `docs/first-months.md` has them for organisations.
_OF_GROUPS = {
    "app/models/{one}.py": "class Membership(",
    "app/core/place.py": "Here = ",
    "app/services/{many}.py": "async def refuse(",
    "app/routes/{many}.py": "REFUSED = ",
}


def write(tree: Tree, resource: Resource) -> None:
    """Write all but the migration and the OpenAPI document.

    Raises:
        ResourceError: something is there already, or something that is needed is not.
    """
    problems: list[str] = []
    tried(problems, partial(_require_group, tree, resource))
    targets = tried(problems, partial(targets_of, resource, tree))
    if targets is None:
        raise ResourceError("\n".join(problems))
    files = _files(resource, targets)
    tried(problems, partial(_require_new_names, resource, files))
    if problems:
        raise ResourceError("\n".join(problems))
    tree.add_all(files)
    tree.change(MODELS, *edits.to_models(resource))
    tree.change(MAIN, *edits.to_main(resource))
    tree.change(TABLE, *edits.to_table(resource, _entry(tree, resource, targets)))
    reference.refer(tree, resource, targets)


def take_out(tree: Tree, resource: Resource) -> None:
    """Remove what `write` has written.

    Raises:
        ResourceError: it is not there, or it has been changed since.
    """
    if not tree.exists(f"app/models/{resource.name.one}.py"):
        raise ResourceError(
            f"There is no resource {resource.name.one} in backend/app/models: name one that make resource wrote."
        )
    targets = targets_of(resource, tree)
    files = formatted(_files(resource, targets), tree.backend)
    reference.unrefer(tree, resource, targets)
    changed = [f"backend/{path}" for path, text in files.items() if not tree.exists(path) or tree.read(path) != text]
    if changed:
        raise ResourceError(
            f"This line does not write what is in {' and '.join(changed)}: give the line with which the resource was"
            " written, or take it out by hand."
        )
    entry = _entry(tree, resource, targets)
    for path, back, changes in (
        (MODELS, partial(edits.from_models, resource), edits.to_models(resource)),
        (MAIN, partial(edits.from_main, resource), edits.to_main(resource)),
        (TABLE, partial(edits.from_table, resource, entry), edits.to_table(resource, entry)),
    ):
        tree.change_back(path, back, changes)
    for path in files:
        tree.remove(path)
    _require_unused(tree, resource)


def _require_unused(tree: Tree, resource: Resource) -> None:
    """Refuse to take out what other files import, or what the tables of others refer to."""
    name = resource.name
    gone = {f"app.models.{name.one}", f"app.schemas.{name.one}", f"app.services.{name.many}", f"app.routes.{name.many}"}
    gone |= {f"app.core.{enum_module(resource, each)}" for each in resource.enums}
    gone.add(f"tests.resources.{name.constant}")
    for path in [*tree.paths("app/**/*.py"), *tree.paths("tests/**/*.py")]:
        for node in ast.walk(tree.parsed(path)):
            used: set[str] = set()
            if isinstance(node, ast.ImportFrom) and node.module:
                used = {node.module, *(f"{node.module}.{each.name}" for each in node.names)} & gone
            elif isinstance(node, ast.Import):
                used = {each.name for each in node.names} & gone
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and path.startswith("app/models/"):
                used = {f"the table {name.many}"} if node.value.startswith(f"{name.many}.") else set()
            if used:
                raise ResourceError(
                    f"backend/{path} needs {used.pop()}, in line {getattr(node, 'lineno', 0)}: take that out first, then"
                    " run the command again."
                )


def _require_group(tree: Tree, resource: Resource) -> None:
    group = resource.group
    if not group:
        return
    needed = {pattern.format(one=group.one, many=group.many): text for pattern, text in _OF_GROUPS.items()}
    missing = [
        f"{text.strip(' (=')} in backend/{path}"
        for path, text in needed.items()
        if not tree.exists(path) or text not in tree.read(path)
    ]
    if missing:
        raise ResourceError(
            f"OWNER={group.one} needs {', '.join(missing)}. Write the groups first, as docs/first-months.md"
            " does, or leave OWNER out."
        )


def _require_new_names(resource: Resource, files: dict[str, str]) -> None:
    """Refuse a name that stands for something else in a module that would be written."""
    for text in files.values():
        module = ast.parse(text)
        for name in _twice(module):
            raise ResourceError(
                f"NAME={resource.name.one}: the code of every resource has the name {name} for something else. Write"
                f" another, as NAME=own_{resource.name.one}, or another member in FIELDS if that is called {name}."
            )


def _twice(module: ast.Module) -> Iterator[str]:
    """The names that a module, a function or a class has for two things."""
    top = [name for node in module.body for name in _bound(node)]
    yield from (name for name in top if top.count(name) > 1)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A parameter may hide a module's name that the function does not use.
            hidden = {each.arg for each in (*node.args.args, *node.args.kwonlyargs)} & {*top}
            yield from hidden & {each for line in node.body for each in _called(line)}
        if isinstance(node, ast.ClassDef):
            members = {each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and _named(each.target)}
            yield from members & {each.id for each in ast.walk(node) if _named(each) and isinstance(each.ctx, ast.Load)}


def _called(node: ast.AST) -> Iterator[str]:
    """The names that are called, or of which an attribute is read."""
    for each in ast.walk(node):
        used = each.func if isinstance(each, ast.Call) else each.value if isinstance(each, ast.Attribute) else None
        if used is not None and _named(used):
            yield used.id


def _named(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement of a module gives to something."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [each.asname or each.name for each in node.names]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [each.id for each in targets if _named(each)]


def _files(resource: Resource, targets: dict[str, Target]) -> dict[str, str]:
    """The new files, by path, not yet formatted."""
    name = resource.name
    written = {f"app/core/{enum_module(resource, each)}.py": enum(resource, each) for each in resource.enums}
    written |= {
        f"app/models/{name.one}.py": model(resource, {table: each.key for table, each in targets.items()}),
        f"app/schemas/{name.one}.py": schema(resource),
        f"app/services/{name.many}.py": service(resource, {table: each.words for table, each in targets.items()}),
        f"app/routes/{name.many}.py": routes(resource),
    }
    if targets:
        written[f"tests/test_{name.one}.py"] = tests(resource, targets)
    return written


def _entry(tree: Tree, resource: Resource, targets: dict[str, Target]) -> str:
    return formatted({TABLE: entry_of(resource, targets)}, tree.backend)[TABLE]
