"""Places in a module's text, found by its syntax tree. What stands around them stays as it is, comments included."""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cached_property
from io import StringIO
from typing import NamedTuple

from groundwork.dev.resource.errors import LineError

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OUTSIDE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


class Span(NamedTuple):
    """A part of a text."""

    start: int
    end: int


class Items(NamedTuple):
    """What stands between brackets, apart by commas. `start` is where the bracket opens, `end` where it closes."""

    start: int
    end: int
    spans: list[Span]
    comma: bool
    """Whether a comma follows the last one."""


class Token(NamedTuple):
    type: int
    text: str
    start: int
    end: int


class Source:
    """A module's text, with its syntax tree.

    Raises:
        LineError: Python cannot read it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.tree = ast.parse(text)
        except SyntaxError as error:
            raise LineError(f"cannot be read by Python, in line {error.lineno}: correct it first.") from None
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def span(self, node: ast.stmt | ast.expr | ast.alias) -> Span:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        return Span(self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column))

    def _offset(self, line: int, column: int) -> int:
        """ast counts bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def line(self, place: int) -> str:
        """The line at this place, with its number, as a sentence names it."""
        number = self.text.count("\n", 0, place) + 1
        return f"line {number}: {self._lines[number - 1].strip()}"

    @cached_property
    def tokens(self) -> list[Token]:
        return [
            Token(
                each.type,
                each.string,
                self._starts[each.start[0] - 1] + each.start[1],
                self._starts[each.end[0] - 1] + each.end[1],
            )
            for each in tokenize.generate_tokens(StringIO(self.text).readline)
            if each.type != tokenize.ENDMARKER
        ]

    def items(self, opening: int) -> Items:
        """What stands in the brackets that open at or after this place."""
        spans: list[Span] = []
        depth, start, end, first = 0, opening, -1, -1
        comma = False
        for token in self.tokens:
            if token.start < opening or (not depth and token.text not in _CLOSING):
                continue
            if token.text in _CLOSING.values() and token.type == tokenize.OP:
                depth -= 1
                if not depth:
                    return Items(start, token.start, [*spans, Span(first, end)] if first >= 0 else spans, comma)
            if depth == 1 and token.text == "," and token.type == tokenize.OP:
                spans.append(Span(first, end))
                first, comma = -1, True
            elif depth and token.type not in _OUTSIDE:
                first, end, comma = (token.start if first < 0 else first), token.end, False
            if token.text in _CLOSING and token.type == tokenize.OP:
                start = token.start if not depth else start
                depth += 1
        raise LineError(f"has no brackets after {self.line(opening)!r}: write them again.")

    def assigned(self, name: str) -> ast.Assign | ast.AnnAssign | None:
        """The statement of the module that assigns the name."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(node, ast.Assign | ast.AnnAssign) and any(
                isinstance(each, ast.Name) and each.id == name for each in targets
            ):
                return node
        return None

    def function(self, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        functions = (node for node in self.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        return next((node for node in functions if node.name == name), None)

    def uses(self, name: str) -> Iterator[int]:
        """Where the name is read."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                yield self.span(node).start

    def require_unused(self, name: str) -> None:
        for place in self.uses(name):
            raise LineError(f"uses {name} once more, in {self.line(place)!r}: take that out by hand first.")

    def has_comment(self, span: Span) -> bool:
        return "#" in self.text[span.start : span.end] and any(
            token.type == tokenize.COMMENT and span.start <= token.start < span.end for token in self.tokens
        )

    def begins_line(self, place: int) -> bool:
        return not self.text[self.text.rfind("\n", 0, place) + 1 : place].strip()

    def indent(self, place: int) -> str:
        found = re.match(r"[ \t]*", self.text[self.text.rfind("\n", 0, place) + 1 :])
        return found[0] if found else ""

    def line_start(self, place: int) -> int:
        return self.text.rfind("\n", 0, place) + 1

    def above_comments(self, place: int) -> int:
        """The beginning of the line, or of the comments that stand directly above it."""
        start = self.line_start(place)
        while start and self.text[self.line_start(start - 1) : start].lstrip().startswith("#"):
            start = self.line_start(start - 1)
        return start


def put(text: str, place: int, new: str) -> str:
    return text[:place] + new + text[place:]


def with_item(source: Source, items: Items, new: str, index: int | None = None) -> str:
    """The text with one more item before the one with this index; without an index, after the last.

    An item that has a line of its own stays there, with its comment.
    """
    text, spans = source.text, items.spans
    if not spans:
        if "\n" not in text[items.start : items.end] or not source.begins_line(items.end):
            return put(text, items.start + 1, new)
        return put(text, source.line_start(items.end), f"{source.indent(items.end)}    {new},\n")
    if index is not None and index < len(spans):
        start = spans[index].start
        if source.begins_line(start):
            return put(text, source.line_start(start), f"{source.indent(start)}{new},\n")
        return put(text, start, f"{new}, ")
    start, end = spans[-1]
    rest = re.match(r"(,?)[ \t]*(#[^\n]*)?(?=\n)", text[end:])
    if not source.begins_line(start) or not rest:
        return put(text, end, f", {new}")
    comma = "," if rest[1] else ""
    text = put(text, end + rest.end(), f"\n{source.indent(start)}{new}{comma}")
    return text if comma else put(text, end, ",")


def without_item(source: Source, items: Items, index: int, *, loose: bool = False) -> str:
    """The text without an item: what `with_item` has put there.

    Args:
        loose: also without the commas before the brackets around it, so that the formatter may join the lines.

    Raises:
        LineError: a comment stands beside the item.
    """
    text, spans = source.text, items.spans
    start, end = spans[index]
    after = re.match(r",?[ \t]*\n", text[end:])
    if re.match(r",?[ \t]*#", text[end:]):
        raise LineError(f"has a comment of its own in {source.line(end)!r}: take that line out by hand.")
    if source.begins_line(start) and after:
        cut = Span(source.line_start(start), end + after.end())
    elif index:
        cut = Span(spans[index - 1].end, end)
    elif len(spans) > 1:
        cut = Span(start, spans[1].start)
    else:
        cut = Span(start, items.end if items.comma and "\n" not in text[end : items.end] else end)
    if source.has_comment(cut):
        raise LineError(f"has a comment of its own at {source.line(start)!r}: take that item out by hand.")
    changed = text[: cut.start] + text[cut.end :]
    if source.begins_line(start) and index == len(spans) - 1 and index and not items.comma:
        last = spans[index - 1].end
        changed = changed[:last] + changed[last + 1 :] if changed[last] == "," else changed
    return _loosened(changed, cut.start) if loose else changed


def _loosened(text: str, place: int) -> str:
    """The text without the last comma in each pair of brackets around the place, except in tuples of one item."""
    source = Source(text)
    opened: list[Token] = []
    commas: list[int] = []
    before: dict[Token, Token] = {}
    last: Token | None = None
    for token in source.tokens:
        if token.type in _OUTSIDE:
            continue
        if token.type == tokenize.OP and token.text in _CLOSING:
            opened.append(token)
            if last:
                before[token] = last
        elif token.type == tokenize.OP and token.text in _CLOSING.values():
            opening = opened.pop()
            around = opening.end <= place <= token.start
            call = opening in before and (before[opening].type == tokenize.NAME or before[opening].text in ")]")
            if around and last and last.text == "," and (call or len(source.items(opening.start).spans) > 1):
                commas.append(last.start)
        last = token
    for comma in reversed(commas):
        text = text[:comma] + text[comma + 1 :]
    return text


def without_statement(source: Source, node: ast.stmt) -> str:
    """The text without the statement, and without one empty line after it.

    Raises:
        LineError: something else stands in its lines.
    """
    text, (start, end) = source.text, source.span(node)
    after = re.match(r"[ \t]*(\n|$)", text[end:])
    if not after or not source.begins_line(start) or source.has_comment(Span(start, end)):
        raise LineError(f"has more in the lines of {source.line(start)!r}: take them out by hand.")
    end += after.end()
    if text[end:].startswith("\n") and not isinstance(node, ast.Import | ast.ImportFrom):
        end += 1
    return text[: source.line_start(start)] + text[end:]
