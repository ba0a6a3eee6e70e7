"""How large the library is that every copy of the template carries.

Counted are the lines of code of `groundwork/` in production, so without `dev/`, `testing/` and `tests/`: each line on
which some code stands, but no blank lines, no comments and no docstrings.
"""

import ast
import tokenize
from io import StringIO
from pathlib import Path

import groundwork

# The aim is 8,000. Lower this with each cut.
LIMIT = 9200
_LIBRARY = Path(groundwork.__file__).parent
_NOT_IN_PRODUCTION = {"dev", "testing", "tests"}
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


SOURCE = '''
"""What it is."""

# why
LIMIT = (
    1
)


def text() -> str:
    """What it
    returns."""
    return """a
b"""  # why
'''


def test_what_counts_as_code() -> None:
    assert lines_of_code(SOURCE) == 3 + 1 + 2


def test_the_library_in_production_stays_below_its_limit() -> None:
    sources = [path for path in _LIBRARY.rglob("*.py") if path.relative_to(_LIBRARY).parts[0] not in _NOT_IN_PRODUCTION]
    sizes = {path.relative_to(_LIBRARY).as_posix(): lines_of_code(path.read_text("utf-8")) for path in sources}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:10]
    assert len(sizes) > 50
    assert sum(sizes.values()) < LIMIT, f"{sum(sizes.values())} lines of code; the largest files: {largest}"
