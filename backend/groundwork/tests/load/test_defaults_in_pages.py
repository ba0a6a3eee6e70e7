"""Pages and .env.example name the defaults that the code has."""

import re
from collections.abc import Iterator

import pytest

from app.core.config import Settings
from groundwork.tests.load.quotes import ROOT
from groundwork.tests.load.test_figures_say_when import pages

# `DATABASE_WAIT_SECONDS` (10) in a page; `BACKUP_HOUR` (3, in UTC) too.
_IN_A_PAGE = re.compile(r"`([A-Z][A-Z_]+)`\s+\((\d+(?:\.\d+)?)[,)]")
_IN_THE_EXAMPLE = re.compile(r"^#([A-Z_]+)=(\d+(?:\.\d+)?)$", re.MULTILINE)
_IN_A_COMPOSE_FILE = re.compile(r"\$\{([A-Z_]+):-(\d+)\}")
# The code with which a WebSocket is closed.
_NO_DEFAULT = ("MEMORY_BUDGET_BYTES", "1013")


def defaults() -> dict[str, float]:
    """Of the settings that are numbers, and of the variables of Compose files."""
    found = {
        name.upper(): float(field.default)
        for name, field in Settings.model_fields.items()
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    for file in [ROOT / "docker-compose.yml", *(ROOT / "deploy/vm").glob("*.yaml")]:
        for name, value in _IN_A_COMPOSE_FILE.findall(file.read_text()):
            found.setdefault(name, float(value))
    return found


def named(page: str) -> Iterator[tuple[str, str]]:
    yield from (each for each in _IN_A_PAGE.findall((ROOT / page).read_text()) if each != _NO_DEFAULT)


@pytest.mark.parametrize("page", [page for page in pages() if [*named(page)]])
def test_a_page_has_the_defaults(page: str) -> None:
    expected = defaults()
    assert [(name, value) for name, value in named(page) if float(value) != expected[name]] == []


def test_the_example_has_the_defaults() -> None:
    expected = defaults()
    found = _IN_THE_EXAMPLE.findall((ROOT / ".env.example").read_text())
    assert len(found) > 10
    assert [(name, value) for name, value in found if name in expected and float(value) != expected[name]] == []
