"""Finds what the shell scripts and the Makefile say when they fail."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[4]
FOLDERS = (".ci", "deploy", "backend/groundwork/dev")

_SHEBANG = re.compile(rb"#!.*\b(ba)?sh\n")
_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*')"""
# A message is what `fail` or `say` is given, what goes to standard error, what comes before `return 1`, what a missing
# variable says, and what make says.
_MESSAGE = re.compile(
    rf"\b(?:fail|say) ((?:{_TEXT} *)+)"
    rf"|\becho ((?:{_TEXT} *)+)(?:>&2|; return 1)"
    r"|\$\{\w+:\?([^}]*)\}"
    r"|^\$\(error (.*)\)$"
)
# Where a script or one of its functions fails.
_FAILURE = re.compile(r"(?<!-)\bfail (?!-)|\bexit [1-9]|\breturn 1\b|\$\{\w+:\?|\becho [^|]*>&2|^\$\(error\b")
# What is inserted into a text: arithmetic, the output of a command, and a variable. The innermost is first.
_INSERTED = (
    re.compile(r"\$\(\((?:[^()\n]|\([^()\n]*\))*\)\)"),
    re.compile(r"\$\((?!error\b)(?:[^()\n\"]|\"[^\"\n]*\"|\([^()\n]*\))*\)"),
)
# A variable of a script that stands for a text.
_ASSIGNED = re.compile(r'^(\w+)="([^"$]*)"$', re.MULTILINE)
_VARIABLE = re.compile(r"\$\$?\{\w[^}:?]*\}|\$\$?\w+|\$\$?[*@]")
# The functions that write a message and end.
_WRITERS = re.compile(r"^(?:fail|say)\(\) \{(?: .* \}|\n(?:.*\n)*?\})$", re.MULTILINE)


class Message(NamedTuple):
    script: str
    text: str
    """With `x` for what is inserted."""

    def __str__(self) -> str:
        return f"{self.script}: {self.text[:60]}"


def scripts() -> Iterator[tuple[str, list[str]]]:
    """Each script's name and its lines, of which one that goes on in the next is one."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and _SHEBANG.match(path.read_bytes()[:40]):
                yield path.relative_to(ROOT).as_posix(), _lines(path.read_text())
    yield "Makefile", _lines((ROOT / "Makefile").read_text())


def messages() -> Iterator[Message]:
    for script, lines in scripts():
        texts = dict(_ASSIGNED.findall("\n".join(lines)))
        for found in (found for line in lines for found in _MESSAGE.finditer(line)):
            yield Message(script, _plain(next(group for group in found.groups() if group is not None), texts))


def silent() -> Iterator[tuple[str, str]]:
    """The lines that fail without a message, on them or on the line before."""
    for script, lines in scripts():
        for before, line in zip(["", *lines], lines, strict=False):
            said = f"{before} {line}" if line in ("exit 1", "return 1") else line
            if _FAILURE.search(line) and not _MESSAGE.search(said):
                yield script, line


def _lines(text: str) -> list[str]:
    text = re.sub(r"(\|\||&&)\n\s*", r"\1 ", re.sub(r"\\\n\s*", " ", _WRITERS.sub("", text)))
    for inserted in _INSERTED:
        text = inserted.sub("x", text)
    return [line.strip() for line in text.splitlines() if not line.strip().startswith("#")]


def _plain(argument: str, texts: Mapping[str, str]) -> str:
    """The words of an argument, without its quotes, with the script's own texts and `x` for all else."""
    words = " ".join(each[1:-1] if each[0] in "\"'" else each for each in re.findall(rf"{_TEXT}|[^\"]+", argument))
    return " ".join(_VARIABLE.sub(lambda found: texts.get(found[0][1:], "x"), words).replace('\\"', '"').split())
