"""`make resource NAME=project FIELDS="name:str(100) archived:bool"`: writes a resource, or removes it again.

It reads the variables NAME, FIELDS, PLURAL, OWNER and REMOVE of the environment, where make puts them.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

from groundwork.dev.resource import migration
from groundwork.dev.resource.description import Resource, described
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.tree import Tree
from groundwork.dev.resource.writing import take_out, write

_EXAMPLE = 'make resource NAME=project FIELDS="name:str(100) due_on:date? price:decimal(10,2) status:enum(open,done)"'
_DOCUMENTS = ("openapi.json", "../clients/version.json")


def main() -> int:
    if not os.environ.get("NAME"):
        print(f"Say what it is: {_EXAMPLE}", file=sys.stderr)
        return os.EX_USAGE
    try:
        resource = described(*(os.environ.get(name, "") for name in ("NAME", "FIELDS", "PLURAL", "OWNER")))
        migration.require_one_head()
        if os.environ.get("REMOVE"):
            _remove(resource)
        else:
            _add(resource)
    except ResourceError as error:
        print(error, file=sys.stderr)
        return os.EX_DATAERR
    return os.EX_OK


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
    print(f"make migrate, or the next make run, creates the table. Then {_path(resource)} is served.")


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
