"""`make resource NAME=project FIELDS="name:str(100) archived:bool"`: writes a resource, or removes it again.

It reads the variables NAME, FIELDS, PLURAL, OWNER and REMOVE of the environment, where make puts them.
"""

import os
import re
import sys
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path

from groundwork.dev.resource import migration
from groundwork.dev.resource.description import Resource, described
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.tree import Tree
from groundwork.dev.resource.writing import take_out, write

_EXAMPLE = 'make resource NAME=project FIELDS="name:str(100) due_on:date? price:decimal(10,2) status:enum(open,done)"'
_VARIABLES = ("NAME", "FIELDS", "PLURAL", "OWNER", "REMOVE")
_DOCUMENTS = ("openapi.json", "../clients/version.json")


def main() -> int:
    if misspelt := _misspelt():
        print(misspelt, file=sys.stderr)
        return os.EX_USAGE
    if os.environ.get("REMOVE") and not os.environ.get("FIELDS"):
        print(
            "REMOVE=yes: repeat the whole line with which the resource was made, with its FIELDS, and add REMOVE=yes:"
            f" {_EXAMPLE} REMOVE=yes",
            file=sys.stderr,
        )
        return os.EX_USAGE
    if not os.environ.get("NAME"):
        print(f"Say what it is: {_EXAMPLE}", file=sys.stderr)
        return os.EX_USAGE
    try:
        resource = described(*(os.environ.get(name, "") for name in _VARIABLES[:-1]))
        migration.require_one_head()
        if os.environ.get("REMOVE"):
            _remove(resource)
        else:
            _add(resource)
    except ResourceError as error:
        print(error, file=sys.stderr)
        return os.EX_DATAERR
    return os.EX_OK


def _misspelt() -> str | None:
    """A variable of the line that the command does not read but nearly has, as a sentence."""
    # Make passes on what stands in its line, after the options.
    for name in re.findall(r"(?:^|\s)([A-Za-z_]+)=", os.environ.get("MAKEFLAGS", "")):
        near = get_close_matches(name.upper(), _VARIABLES, 1)
        if name not in _VARIABLES and near:
            return f"There is no variable {name}: write {near[0]}=… instead, as in {_EXAMPLE}"
    return None


def _add(resource: Resource) -> None:
    tree = Tree(Path.cwd(), kept=_DOCUMENTS)
    write(tree, resource)
    migrations = {*migration.VERSIONS.glob("*.py")}
    try:
        tree.write()
        migration.create(resource.name.many)
        _write_documents()
    except BaseException:
        tree.undo()
        for file in {*migration.VERSIONS.glob("*.py")} - migrations:
            file.unlink()
        raise
    written = [*tree.texts, *map(str, migration.VERSIONS.glob(f"*_create_{resource.name.many}.py")), *_DOCUMENTS]
    for path in sorted(written):
        print(f"  backend/{path}" if not path.startswith("../") else f"  {path[3:]}")
    print("Next: read them (docs/add-a-resource.md explains each), then make test.")
    print(f"Then make migrate, which creates the table. A server that runs goes on, and then serves {_path(resource)}.")


def _remove(resource: Resource) -> None:
    tree = Tree(Path.cwd(), kept=_DOCUMENTS)
    take_out(tree, resource)
    file = migration.newest(resource.name.many)
    with migration.taken_back(resource.name.many, file) if file else nullcontext():
        try:
            tree.write()
            _write_documents()
        except BaseException:
            tree.undo()
            raise
    print(f"Removed: {resource.name.words_of_many}. Next: git status shows what is left.")


def _write_documents() -> None:
    """The OpenAPI document, and the version of the clients, which follows it."""
    migration.run("tests.test_openapi_document")
    migration.run("groundwork.dev.build_clients", "version")


def _path(resource: Resource) -> str:
    group = f"{resource.group.many}/{{{resource.group.one}_id}}/" if resource.group else ""
    return f"/api/{{user_id}}/{group}{resource.name.many}"


if __name__ == "__main__":
    sys.exit(main())
