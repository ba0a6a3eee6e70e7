"""Writes a resource's files, and takes them out again while they are as they were written."""

from collections.abc import Iterable

from groundwork.dev.resource import edits, reference
from groundwork.dev.resource.contract import entry, tests
from groundwork.dev.resource.description import Resource
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
    _require_group(tree, resource)
    targets = targets_of(resource, tree)
    for path, text in _files(resource, targets).items():
        tree.add(path, text)
    tree.change(MODELS, *edits.to_models(resource))
    tree.change(MAIN, *edits.to_main(resource))
    tree.change(TABLE, *edits.to_table(resource, _entry(tree, resource, targets)))
    reference.refer(tree, resource, targets)
    tree.format()


def take_out(tree: Tree, resource: Resource) -> None:
    """Remove what `write` has written.

    Raises:
        ResourceError: it is not there, or it has been changed since.
    """
    there = Tree(tree.backend, tree.texts)
    targets = targets_of(resource, there)
    if not tree.exists(f"app/models/{resource.name.one}.py"):
        raise ResourceError(
            f"There is no resource {resource.name.one} in backend/app/models: name one that make resource wrote."
        )
    reference.unrefer(tree, resource, targets)
    tree.change(MODELS, *edits.from_models(resource))
    tree.change(MAIN, *edits.from_main(resource))
    tree.change(TABLE, *edits.from_table(resource, _entry(tree, resource, targets)))
    paths = _files(resource, targets).keys()
    for path in paths:
        tree.remove(path)
    tree.format()
    _require_unchanged(there, tree, resource, paths)


def _require_unchanged(there: Tree, without: Tree, resource: Resource, paths: Iterable[str]) -> None:
    """The resource's own files must be as they are when they are written anew."""
    again = Tree(without.backend, without.texts)
    write(again, resource)
    changed = [f"backend/{path}" for path in paths if again.read(path) != there.read(path)]
    if changed:
        raise ResourceError(
            f"This line does not write what is in {' and '.join(changed)}: give the line with which the resource was"
            " written, or take it out by hand."
        )


def _require_group(tree: Tree, resource: Resource) -> None:
    if not resource.group:
        return
    for pattern, needed in _OF_GROUPS.items():
        path = pattern.format(one=resource.group.one, many=resource.group.many)
        if not tree.exists(path) or needed not in tree.read(path):
            raise ResourceError(
                f"OWNER={resource.group.one} needs {needed.strip(' (=')} in backend/{path}: write the groups first, as the"
                " template's docs/first-months.md does, or leave OWNER out."
            )


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
    return formatted({TABLE: entry(resource, targets)}, tree.backend)[TABLE]
