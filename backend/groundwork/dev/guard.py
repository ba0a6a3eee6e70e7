"""`make guard`: whose rows each table holds, and every door past the guard, with its reason."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

from groundwork.data import plain_session
from groundwork.data.known_functions import reasons as functions
from groundwork.data.known_tables import owner_of, public_tables
from groundwork.data.statement import for_everybody
from groundwork.data.tables import metadata


def main() -> None:
    """Print one line for each."""
    modules = list(_modules("app"))
    for table in metadata.sorted_tables:
        if owner := owner_of(table):
            through = "" if owner.members is None else f", through {owner.members}"
            print(f"owned      {table.name}: by {owner.column}{through}")
    for source, reason in public_tables.items():
        print(f"public     {source}: {reason}")
    for name, reason in functions.items():
        print(f"function   {name}: {reason}")
    for statement in for_everybody:
        print(f"everybody  {_name(statement, modules)}: {statement.everybody}")
    for reason in plain_session.reasons:
        print(f"session    without a role: {reason}")


def _modules(package: str) -> Iterator[ModuleType]:
    root = import_module(package)
    for each in walk_packages(root.__path__, f"{package}."):
        yield import_module(each.name)


def _name(statement: Any, modules: list[ModuleType]) -> str:
    for module in modules:
        for name, value in vars(module).items():
            if value is statement:
                return f"{module.__name__}.{name}"
    return " ".join(statement.sql.split())


if __name__ == "__main__":
    main()
