"""`make` alone lists every command in a group, and a file with a command's name does not hide the command."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
FILES = ("Makefile", "backend/groundwork/tests/targets.mk")
_TITLE = re.compile(r"^##@ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
_PHONY = re.compile(r"^\.PHONY: (.+)$", re.MULTILINE)


def texts() -> list[str]:
    return [(ROOT / file).read_text() for file in FILES if (ROOT / file).exists()]


def found(pattern: re.Pattern[str]) -> list[str]:
    return [match for text in texts() for match in pattern.findall(text)]


def shown() -> str:
    return subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def groups() -> dict[str, list[str]]:
    """The commands that `make` shows, under the titles of their groups."""
    _, *paragraphs = shown().split("\n\n")
    split = (paragraph.splitlines() for paragraph in paragraphs)
    return {title: [line.split()[0] for line in lines if re.match(r"  \S", line)] for title, *lines in split}


def test_every_command_is_shown_once_in_a_group() -> None:
    listed = [command for commands in groups().values() for command in commands]
    assert sorted(listed) == sorted(found(_COMMAND))


def test_every_group_has_a_title_of_its_own_and_commands() -> None:
    assert list(groups()) == found(_TITLE)
    assert all(groups().values())


def test_every_command_is_phony() -> None:
    phony = [name for line in found(_PHONY) for name in line.split()]
    assert set(found(_COMMAND)) <= set(phony)
    assert len(phony) == len(set(phony))


def test_the_list_is_plain_text_for_pipes_and_fits_eighty_columns() -> None:
    assert "\033" not in shown()
    # awk may count bytes instead of characters.
    assert [line for line in shown().splitlines() if len(line) > 80] == []


def test_a_description_is_shown_whole_below_its_first_line() -> None:
    described = re.findall(r"^[a-z][a-z-]*:.*?## (.+)$", "\n".join(texts()), re.MULTILINE)
    assert described
    one_line = " ".join(shown().split())
    assert [text for text in described if text not in one_line] == []


@pytest.mark.parametrize(
    ("answer", "variables", "deletes"),
    [("y\n", [], True), ("", ["CONFIRM=yes"], True), ("n\n", [], False), ("", [], False), ("", ["CONFIRM=no"], False)],
)
def test_the_stack_is_deleted_only_after_a_yes(
    tmp_path: Path, answer: str, variables: list[str], *, deletes: bool
) -> None:
    engine, calls = tmp_path / "docker", tmp_path / "calls"
    engine.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n')
    engine.chmod(0o755)
    done = subprocess.run(
        ["make", "reset", "STACK=yes", *variables],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        input=answer,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("down --volumes" in calls.read_text()) == deletes
    assert (done.returncode == 0) == deletes
    assert ("Nothing was deleted. If you mean it, answer y" in done.stderr) != deletes
