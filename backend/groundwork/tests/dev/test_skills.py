"""The skills for coding assistants have the form of agentskills.io, and all that they name is there.

test_pages.py follows their links and the files that they name, as those of every page.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
SKILLS = sorted((ROOT / ".agents" / "skills").glob("*/SKILL.md"))
# What a message can come from: the library without its tests, and the checks.
SOURCES = [
    ROOT / ".ci" / "check",
    *(path for path in (ROOT / "backend/groundwork").rglob("*.py") if "/groundwork/tests/" not in path.as_posix()),
]

_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_COMMAND = re.compile(r"(?:`|^ *)make ([a-z-]+)((?: [A-Z]+=\S*)*)", re.MULTILINE)
# The second module is run by the first.
_MODULE = re.compile(r"python -m (?:groundwork\.dev (?=\w))?([\w.]+)")
_ROW = re.compile(r"^\| (?!mistake|---)(.+) \| (.+) \|$", re.MULTILINE)
_QUOTED = re.compile(r"``(.+?)``|`([^`]+)`")
each_skill = pytest.mark.parametrize("skill", SKILLS, ids=lambda path: path.parent.name)


@each_skill
def test_it_has_the_form(skill: Path) -> None:
    front = _FRONT.match(skill.read_text())
    assert front
    fields = yaml.safe_load(front[1])
    assert fields.keys() == {"name", "description"}
    assert fields["name"] == skill.parent.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert len(fields["name"]) <= 64
    assert " Use when " in fields["description"]
    assert len(fields["description"]) <= 1024
    assert 30 <= len(skill.read_text().splitlines()) <= 60


@each_skill
def test_every_command_is_there(skill: Path) -> None:
    text, makefile = skill.read_text(), (ROOT / "Makefile").read_text()
    commands = _COMMAND.findall(text)
    assert commands
    targets = {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    assert {target for target, _ in commands} <= targets
    variables = {(target, name) for target, given in commands for name in re.findall(r"([A-Z]+)=", given)}
    for target, name in variables:
        assert re.search(rf"^{target}:.*\b{name}=", makefile, re.MULTILINE), f"make {target} {name}="


@each_skill
def test_every_module_is_there(skill: Path) -> None:
    for module in _MODULE.findall(skill.read_text()):
        assert find_spec(module), module


@each_skill
def test_every_message_is_one_of_the_programs(skill: Path) -> None:
    # Long texts are written in pieces.
    written = re.sub(r"[\"']\s*f?[\"']", "", "".join(path.read_text() for path in SOURCES))
    rows = _ROW.findall(skill.read_text())
    assert rows
    quoted = [one or other for _, says in rows for one, other in _QUOTED.findall(says)]
    assert [each for each in quoted if each not in written] == []


@each_skill
def test_it_does_not_need_the_example(skill: Path) -> None:
    """A project may have removed it."""
    assert not re.search(r"\btasks?\b", skill.read_text(), re.IGNORECASE)


def test_assistants_are_told_of_each() -> None:
    text = (ROOT / "AGENTS.md").read_text()
    assert len(SKILLS) == 3
    assert [skill for skill in SKILLS if skill.relative_to(ROOT).as_posix() not in text] == []
