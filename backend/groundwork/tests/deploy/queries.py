"""Parses the queries in deploy/observability."""

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml

from groundwork.tests.deploy.targets import DEPLOY

OBSERVABILITY = DEPLOY / "observability"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((OBSERVABILITY / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD: dict[str, Any] = json.loads((OBSERVABILITY / "dashboards/tasks-api.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


Selector = promql_parser.VectorSelector


class Query:
    """A parsed query: the metrics that it selects, and the labels by which it aggregates."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.selectors: list[Selector] = []
        self.sums: list[tuple[set[str], list[Selector]]] = []
        # Grafana puts a duration there.
        promql_parser.walk(promql_parser.parse(text.replace("$__rate_interval", "1m")), self._visit)

    @property
    def by(self) -> set[str]:
        return set().union(*(labels for labels, _ in self.sums))

    def __repr__(self) -> str:
        return self.text

    def _visit(self, expression: promql_parser.Expr) -> None:
        # The walk comes to a range's selector, too.
        if isinstance(expression, Selector):
            self.selectors.append(expression)
        elif isinstance(expression, promql_parser.AggregateExpr) and expression.modifier:
            self.sums.append((set(expression.modifier.labels), Query(str(expression.expr)).selectors))


def rule_queries() -> Iterator[Query]:
    return (Query(rule["expr"]) for rule in RULES)


def dashboard_queries() -> Iterator[Query]:
    for panel in PANELS:
        yield from (Query(target["expr"]) for target in panel["targets"])
    yield from (Query(each["target"]["expr"]) for each in DASHBOARD["annotations"]["list"])
