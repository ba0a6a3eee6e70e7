"""Imports that a change adds to a module, and takes out again."""

import ast
from collections.abc import Iterator

from groundwork.dev.resource.errors import LineError
from groundwork.dev.resource.places import Items, Source, Span, put, with_item, without_item, without_statement
from groundwork.dev.resource.tree import Change

_FIRST_PARTY = ("app", "groundwork", "loadtests", "tests")


def imported(module: str, name: str, alias: str = "") -> Change:
    """Add `from module import name`, in the order of the imports."""
    written = f"{name} as {alias}" if alias else name

    def change(text: str) -> str:
        source = Source(text)
        if _found(source, module, name, alias):
            return text
        for node in _froms(source):
            if node.module == module and not node.level and node.names[0].name != "*":
                at = next((n for n, each in enumerate(node.names) if _order(each.name) > _order(name)), None)
                return with_item(source, _names(source, node), written, at)
        place, new = _place(source, module), f"from {module} import {written}\n"
        return put(text, place, new)

    return change


def no_longer_imported(module: str, name: str, alias: str = "", *, loose: bool = False) -> Change:
    """Take `from module import name` out, if it is there.

    Raises:
        LineError: the module uses it.
    """

    def change(text: str) -> str:
        source = Source(text)
        found = _found(source, module, name, alias)
        if not found:
            return text
        source.require_unused(alias or name)
        node, index = found
        if len(node.names) == 1:
            return without_statement(source, node)
        return without_item(source, _names(source, node), index, loose=loose)

    return change


def _froms(source: Source) -> Iterator[ast.ImportFrom]:
    return (node for node in source.tree.body if isinstance(node, ast.ImportFrom))


def _found(source: Source, module: str, name: str, alias: str) -> tuple[ast.ImportFrom, int] | None:
    for node in _froms(source):
        for index, each in enumerate(node.names):
            if (node.module, node.level, each.name, each.asname or "") == (module, 0, name, alias):
                return node, index
    return None


def _names(source: Source, node: ast.ImportFrom) -> Items:
    start, end = source.span(node)
    spans = [source.span(each) for each in node.names]
    if "(" in source.text[start : spans[0].start]:
        return source.items(start)
    return Items(start, end, [Span(*each) for each in spans], comma=False)


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter wants it."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def _place(source: Source, module: str) -> int:
    """Where the line stands: in the order of the names, among the imports of the service and the library."""
    imports = [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if not imports:
        raise LineError(f"imports nothing: add 'from {module} import …' by hand, then run the command again.")
    own = [
        node
        for node in imports
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _FIRST_PARTY
    ]
    for node in own:
        if (node.module or "") > module:
            return source.above_comments(source.span(node).start)
    last = source.span((own or imports)[-1]).end
    end = source.text.find("\n", last)
    if end < 0:
        raise LineError("has no line after its imports: add an empty line at its end.")
    return end + 1
