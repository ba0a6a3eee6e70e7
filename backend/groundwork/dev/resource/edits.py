"""What a resource changes in files that exist: the lines that name it. Each change can be taken back."""

import ast

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.errors import LineError
from groundwork.dev.resource.imports import imported, no_longer_imported
from groundwork.dev.resource.places import Source, put, with_item, without_item, without_statement
from groundwork.dev.resource.tree import Change


def to_models(resource: Resource) -> list[Change]:
    return [imported(f"app.models.{resource.name.one}", resource.name.model), _listed(resource.name.model)]


def from_models(resource: Resource, loose: bool) -> list[Change]:  # noqa: FBT001
    module, model = f"app.models.{resource.name.one}", resource.name.model
    return [_listed_no_longer(model, loose=loose), no_longer_imported(module, model, loose=loose)]


def to_main(resource: Resource) -> list[Change]:
    many = resource.name.many
    return [imported(f"app.routes.{many}", "router", many), _first_of("resources", many)]


def from_main(resource: Resource, loose: bool) -> list[Change]:  # noqa: FBT001
    many = resource.name.many
    return [
        _no_longer_of("resources", many, loose=loose),
        no_longer_imported(f"app.routes.{many}", "router", many, loose=loose),
    ]


def to_table(resource: Resource, entry: str) -> list[Change]:
    return [_above("RESOURCES", entry), _first_of("RESOURCES", resource.name.constant)]


def from_table(resource: Resource, entry: str, loose: bool) -> list[Change]:  # noqa: FBT001
    constant = resource.name.constant
    return [_no_longer_of("RESOURCES", constant, loose=loose), _no_longer_above(constant, entry)]


def _all(source: Source) -> ast.List | ast.Tuple:
    statement = source.assigned("__all__")
    if not statement or not isinstance(statement.value, ast.List | ast.Tuple):
        raise LineError('has no list __all__ = […]: write it so, with one name in each line, as "    \\"Task\\",".')
    return statement.value


def _listed(name: str) -> Change:
    """Add a name to `__all__`, before the first that comes after it in the order of the names."""

    def change(text: str) -> str:
        source = Source(text)
        names = _all(source)
        at = next((n for n, each in enumerate(names.elts) if getattr(each, "value", "") > name), None)
        return with_item(source, source.items(source.span(names).start), f'"{name}"', at)

    return change


def _listed_no_longer(name: str, *, loose: bool) -> Change:
    def change(text: str) -> str:
        source = Source(text)
        return _without(source, _all(source), repr(name), loose=loose)

    return change


def _list(source: Source, name: str) -> ast.List:
    """The list that the module assigns to this name, or gives as an argument of this name."""
    statement = source.assigned(name)
    found = [statement.value] if statement else []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg == name and not found:
            named = source.assigned(node.value.id) if isinstance(node.value, ast.Name) else None
            found.append(named.value if named else node.value)
    if not found or not isinstance(found[0], ast.List):
        raise LineError(f"has no line '{name}=[': add it again, as the template has it.")
    return found[0]


def _first_of(name: str, new: str) -> Change:
    """Add an item to a list, before the first."""

    def change(text: str) -> str:
        source = Source(text)
        return with_item(source, source.items(source.span(_list(source, name)).start), new, 0)

    return change


def _no_longer_of(name: str, old: str, *, loose: bool) -> Change:
    def change(text: str) -> str:
        source = Source(text)
        return _without(source, _list(source, name), old, loose=loose)

    return change


def _without(source: Source, items: ast.List | ast.Tuple, old: str, *, loose: bool) -> str:
    """The text without this item of a list, which is given as Python writes it."""
    for index, each in enumerate(items.elts):
        if ast.unparse(each) == old:
            return without_item(source, source.items(source.span(items).start), index, loose=loose)
    return source.text


def _above(name: str, new: str) -> Change:
    """Add a statement above the one that assigns the name."""

    def change(text: str) -> str:
        source = Source(text)
        statement = source.assigned(name)
        if not statement:
            raise LineError(f"has no line '{name} = [': add it again, as the template has it.")
        return put(text, source.above_comments(source.span(statement).start), f"{new}\n")

    return change


def _no_longer_above(name: str, old: str) -> Change:
    """Take the statement out that assigns the name, if it is as it was written."""

    def change(text: str) -> str:
        source = Source(text)
        statement = source.assigned(name)
        if not statement:
            return text
        start, end = source.span(statement)
        if text[start:end].strip() != old.strip():
            raise LineError(
                f"has another {name} than this line writes, in {source.line(start)!r}: take it out by hand."
            )
        changed = without_statement(source, statement)
        Source(changed).require_unused(name)
        return changed

    return change
