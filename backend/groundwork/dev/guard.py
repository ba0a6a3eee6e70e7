"""`make guard`: lists whose rows each table holds, and everything that passes the guard, with its reason."""

from importlib import import_module
from pkgutil import walk_packages

from groundwork.data import plain_session
from groundwork.data.known_functions import reasons as functions
from groundwork.data.known_tables import PROBE, owner_of, public_tables
from groundwork.data.statement import for_everybody
from groundwork.data.tables import metadata


def main() -> None:
    """Print one line for each table, and for each declaration that passes the guard."""
    for each in walk_packages(import_module("app").__path__, "app."):
        import_module(each.name)
    for table in metadata.sorted_tables:
        if owner := owner_of(table):
            through = "" if owner.members is None else f", through {owner.members}"
            print(f"owned      {table.name}: by {owner.column}{through}")
    for source, reason in public_tables.items():
        # The tables with which the guard checks itself are in no database.
        if not str(source).startswith(PROBE.name):
            print(f"public     {source}: {reason}")
    for name, reason in functions.items():
        print(f"function   {name}: {reason}")
    # A `Listing` is several statements.
    named = {(each.origin.module, each.origin.variable(), each.everybody) for each in for_everybody}
    for module, variable, why in sorted(named, key=str):
        print(f"everybody  {module}.{variable}: {why}")
    for reason in plain_session.reasons:
        print(f"session    without a role: {reason}")


if __name__ == "__main__":
    main()
