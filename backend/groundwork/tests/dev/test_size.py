"""The size of the library that every copy of the template carries.

The test counts the lines of code of `groundwork/` in production, so without `dev/`, `testing/` and `tests/`. Blank
lines, comments and docstrings do not count. A text below an attribute that describes it is a docstring too.
"""

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import groundwork
from groundwork.tests.process.server import BACKEND

# The aim was 8,000 for all of it. Lower both with each cut.
LIMIT = 10075
LOADED_LIMIT = 6950
"""The limit for the part that a service loads if it uses no feature that is off by default."""
# Loads what gunicorn, its worker and the example load.
_LOAD = """
import sys
import groundwork.serve.gunicorn_conf, groundwork.serve.worker, groundwork.fast.worker_protocol
import app.main as main
main.app
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "groundwork"))
"""
_LIBRARY = Path(groundwork.__file__).parent
_NOT_IN_PRODUCTION = {"dev", "testing", "tests"}
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(ast.Constant(str())):
                lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


SOURCE = '''
"""What it is."""

# why
LIMIT = (
    1
)
"""What it
limits."""


def text() -> str:
    """What it
    returns."""
    return """a
b"""  # why
'''


def test_what_counts_as_code() -> None:
    assert lines_of_code(SOURCE) == 3 + 1 + 2


def sizes(paths: Iterable[Path]) -> dict[str, int]:
    """The number of lines of code of each file in production."""
    names = ((path, path.relative_to(_LIBRARY)) for path in paths)
    return {
        name.as_posix(): lines_of_code(path.read_text("utf-8"))
        for path, name in names
        if name.parts[0] not in _NOT_IN_PRODUCTION
    }


def test_the_library_in_production_stays_below_its_limit() -> None:
    found = sizes(_LIBRARY.rglob("*.py"))
    largest = sorted(found.items(), key=lambda item: -item[1])[:10]
    assert len(found) > 50
    assert sum(found.values()) < LIMIT, f"{sum(found.values())} lines of code; the largest files: {largest}"


def test_what_a_plain_service_loads_stays_below_its_limit() -> None:
    command, environment = [sys.executable, "-c", _LOAD], {"DATABASE_URL": "postgresql://127.0.0.1/any"}
    done = subprocess.run(command, cwd=BACKEND, env=environment, capture_output=True, text=True, check=True)
    found = sizes(map(Path, done.stdout.split()))
    assert len(found) > 50
    assert sum(found.values()) < LOADED_LIMIT, f"{sum(found.values())} lines of code"
