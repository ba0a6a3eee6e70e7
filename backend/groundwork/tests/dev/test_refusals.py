"""Every refusal of the compiler, of the declarations and of the database's URL says what to write instead.

So a mistake can be mended from its message alone.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2]
MODULES = sorted(
    [*(LIBRARY / "data").glob("*.py"), LIBRARY / "jobs/handlers.py", LIBRARY / "auth/staff.py", LIBRARY / "dev/init.py"]
)
KINDS = {"TypeError", "ValueError", "TemplateError"}
# A verb counts where a sentence or a part of it begins. `use` in "users" or `name` in "has the name" does not.
ASKS = re.compile(
    r"(?:^|[:;,.] |\bor |\band )"
    r"(add|call|choose|declare|derive|enter|expected|give|join|leave|let|make|move|name|pass|put|raise|restore"
    r"|run|say|select|send|set|take|use|wait|wrap|write)\b|\bmust\b|\bneeds?\b|\bwrite\b|\buse\b|\bgive it\b",
    re.IGNORECASE,
)


def refusals() -> Iterator[tuple[str, str]]:
    """The place where each message is raised, and the message. In it, `x` stands for inserted values."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name, message = getattr(node.exc.func, "id", ""), text_of(node.exc.args[0])
                if name in KINDS and message:
                    yield f"{path.relative_to(LIBRARY)}: {message[:60]}", message


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


FOUND = dict(refusals())


def test_they_are_found() -> None:
    assert len(FOUND) > 50


@pytest.mark.parametrize("message", FOUND.values(), ids=FOUND.keys())
def test_it_says_what_to_write(message: str) -> None:
    assert ASKS.search(message), message


@pytest.mark.parametrize(
    "message",
    [
        "a statement may hold no SQL text, because nobody can check whose rows the text reaches: x",
        "no table has a constraint x",
        "x or x has no owner_column()",
        "has lists of hosts, addresses and ports that differ in length",
        "x cannot be read",
    ],
)
def test_what_only_says_what_is_wrong_is_noticed(message: str) -> None:
    assert not ASKS.search(message)
