"""The page on alerts names the times and thresholds that rules.yml has."""

import re
from collections.abc import Callable

import pytest
import yaml

from groundwork.tests.load.quotes import ROOT

OBSERVABILITY = ROOT / "deploy" / "observability"
_NUMBER = re.compile(r"(\d+) ?(min|h|%|ms|days|restarts)")
# How rules.yml may write so many of a unit. "Below 10 %" may be there as a share that is free or that is used.
_FORMS: dict[str, Callable[[int], list[str]]] = {
    "min": lambda number: [f"{number}m", f"{number * 60}"],
    "h": lambda number: [f"{number}h", f"{number} * 3600"],
    "%": lambda number: [f"{number / 100:g}", f"{1 - number / 100:g}"],
    "ms": lambda number: [f"{number / 1000:g}"],
    "days": lambda number: [f"{number} * 86400", f"{number} * 24"],
    "restarts": lambda number: [f"> {number}"],
}


def rules() -> dict[str, str]:
    """By alert, its expression and for how long it must hold."""
    groups = yaml.safe_load((OBSERVABILITY / "rules.yml").read_text())["groups"]
    return {
        rule["alert"]: f"{rule['expr']} {rule.get('for', '')}"
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }


def rows() -> list[tuple[list[str], str]]:
    """The table's alerts, and when each fires."""
    found = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", (OBSERVABILITY / "README.md").read_text(), re.MULTILINE)
    return [(re.findall(r"`(\w+)`", alerts), when) for alerts, when in found]


@pytest.mark.parametrize(("alerts", "when"), rows())
def test_the_page_has_the_numbers_of_the_rules(alerts: list[str], when: str) -> None:
    text = " ".join(rules()[alert] for alert in alerts)
    for number, unit in _NUMBER.findall(when):
        forms = _FORMS[unit](int(number))
        assert any(re.search(rf"(?<![\w.]){re.escape(form)}(?![\w.])", text) for form in forms), (number, unit, text)


def test_the_page_has_every_alert() -> None:
    assert sorted(alert for alerts, _ in rows() for alert in alerts) == sorted(rules())
