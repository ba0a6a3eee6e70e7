"""Finds what the shell scripts and the Makefile say when they fail."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[4]
FOLDERS = (".ci", "deploy", "backend/groundwork/dev")
MAKEFILES = ("Makefile", "backend/groundwork/tests/targets.mk")

_SHEBANG = re.compile(rb"#!.*\b(ba)?sh\n")
_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')"""
# A message is what `fail` or `say` is given, what goes to standard error, what comes before `return 1`, what a missing
# variable says, and what make says.
_MESSAGES = re.compile(
    rf"\b(?:fail|say) ((?:{_TEXT}\s*)+)"
    rf"|\becho ((?:{_TEXT}\s*)+)(?:>&2|; return 1)"
    r"|\$\{\w+:\?([^}]*)\}"
    r"|\$\(error (.*)\)$",
    re.MULTILINE,
)
# Where a script ends, or one of its functions fails.
_FAILURE = re.compile(r"\b(?:fail|wait_for) [\"'$]|\bexit [1-9]|\breturn 1\b|\$\{\w+:\?|>&2|\$\(error\b")
_INSERTED = re.compile(r"\$\([^()]*\)|\$\{[^}]*\}|\$\w+|\$\*")


class Message(NamedTuple):
    script: str
    text: str
    """With `x` for what is inserted."""

    def __str__(self) -> str:
        return f"{self.script}: {self.text[:60]}"


def scripts() -> Iterator[tuple[str, str]]:
    """Each script's name and lines, with a line that goes on in the next as one."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and _SHEBANG.match(path.read_bytes()[:40]):
                yield path.relative_to(ROOT).as_posix(), _joined(path.read_text())
    for name in MAKEFILES:
        yield name, _joined((ROOT / name).read_text())


def messages() -> Iterator[Message]:
    for script, text in scripts():
        for found in _MESSAGES.finditer(text):
            argument = next(group for group in found.groups() if group is not None)
            yield Message(script, plain(argument))


def silent() -> Iterator[tuple[str, str]]:
    """The lines on which a script fails without a message that was found there."""
    for script, text in scripts():
        for line in text.splitlines():
            code = line.strip()
            if not code.startswith("#") and _FAILURE.search(code) and not _MESSAGES.search(code):
                yield script, code


def plain(argument: str) -> str:
    """The words of an argument, without its quotes and with `x` for what is inserted."""
    words = " ".join(each[1:-1] if each[0] in "\"'" else each for each in re.findall(rf"{_TEXT}|[^\"']+", argument))
    return " ".join(_INSERTED.sub("x", words).split())


def _joined(text: str) -> str:
    return re.sub(r"(\|\||&&)\n\s*", r"\1 ", re.sub(r"\\\n\s*", " ", text))
