"""What a resource changes in files that exist: the lines that name it. Each change can be taken back."""

import re

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.tree import Change, LineError

# Both stand in the template, with the example and without it.
_ROUTERS = """\
        resources=[
            # The routers of users' resources. With sign-in, users reach only what is their own.
"""
_TABLE = "RESOURCES: list[Resource] = [\n"
_ALL = f"{_TABLE}    # All that belong to users.\n"


def imported(line: str) -> Change:
    """Add an import. The formatter brings it to its place."""

    def change(text: str) -> str:
        if line in text:
            return text
        found = re.search(r"(?m)^(from|import) ", text)
        if not found:
            raise LineError(f"imports nothing: add {line.strip()!r} by hand, then run the command again.")
        return f"{text[: found.start()]}{line}{text[found.start() :]}"

    return change


def inserted(new: str, *places: str, before: bool = False) -> Change:
    """Add lines after the first of the places that the text has, or before it."""

    def change(text: str) -> str:
        for place in places:
            if place in text:
                return text.replace(place, new + place if before else place + new, 1)
        raise LineError(f"has no line {places[-1].strip().splitlines()[0]!r}: add it again.")

    return change


def removed(old: str) -> Change:
    """Remove lines."""

    def change(text: str) -> str:
        if text.count(old) != 1:
            raise LineError(f"no longer has {old.strip().splitlines()[0]!r} once: take the resource out by hand.")
        return text.replace(old, "")

    return change


def listed(name: str) -> Change:
    """Add a name to `__all__`, in the order of the names."""

    def change(text: str) -> str:
        found = re.search(r'(?m)^__all__ = \[\n((?:    "\w+",\n)*)\]', text)
        if not found:
            raise LineError('has no __all__ = […] with one name in each line: write it so, as in "    \\"Task\\",".')
        names = sorted([*found[1].splitlines(keepends=True), f'    "{name}",\n'])
        return text[: found.start(1)] + "".join(names) + text[found.end(1) :]

    return change


def model_import(resource: Resource) -> str:
    return f"from app.models.{resource.name.one} import {resource.name.model}\n"


def router_import(resource: Resource) -> str:
    return f"from app.routes.{resource.name.many} import router as {resource.name.many}\n"


def to_models(resource: Resource) -> list[Change]:
    return [imported(model_import(resource)), listed(resource.name.model)]


def from_models(resource: Resource) -> list[Change]:
    return [removed(model_import(resource)), removed(f'    "{resource.name.model}",\n')]


def to_main(resource: Resource) -> list[Change]:
    return [
        imported(router_import(resource)),
        inserted(f"            {resource.name.many},\n", _ROUTERS, "        resources=[\n"),
    ]


def from_main(resource: Resource) -> list[Change]:
    return [removed(router_import(resource)), removed(f"            {resource.name.many},\n")]


def to_table(resource: Resource, entry: str) -> list[Change]:
    return [
        inserted(f"{entry}\n", _TABLE, before=True),
        inserted(f"    {resource.name.constant},\n", _ALL, _TABLE),
    ]


def from_table(resource: Resource, entry: str) -> list[Change]:
    return [removed(f"{entry}\n"), removed(f"    {resource.name.constant},\n")]
