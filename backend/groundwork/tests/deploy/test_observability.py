"""deploy/observability asks for what the service tells, and for nothing else.

What the rules do, promtool tests: rules.test.yml beside this file.
"""

import re
from collections import defaultdict

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from groundwork.observe.metrics import Counts
from groundwork.serve.metrics_endpoint import MetricsEndpoint
from groundwork.tests.deploy.queries import (
    ALERTS,
    DASHBOARD,
    OBSERVABILITY,
    PANELS,
    RULES,
    Query,
    dashboard_queries,
    rule_queries,
)
from groundwork.tests.deploy.targets import ROOT

QUERIES = [*rule_queries(), *dashboard_queries()]
# Of Prometheus itself: what it puts on every sample, and what it makes.
TARGET_LABELS: dict[str, set[str]] = {"job": {"tasks-api"}, "instance": set()}
ALERT_LABELS: dict[str, set[str]] = {"alertname": set(), "alertstate": {"firing", "pending"}}
# Whose values the service does not make up as it runs: what is not among them will never be.
CLOSED = ("le", "state", "job", "alertstate")

Metrics = dict[str, dict[str, set[str]]]
"""The values of each label of each metric."""


@pytest.fixture(scope="module")
async def exposed() -> Metrics:
    """What the service tells once each thing has happened that has labels."""
    counts = Counts()
    counts.request("GET", "/api/{user_id}/things", 200, 0.1)
    counts.database_error("connection")
    endpoint = MetricsEndpoint(counts, version="1", revision="1")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=endpoint), base_url="http://service") as client:
        text = (await client.get("/metrics")).text
    metrics: Metrics = defaultdict(lambda: {label: set(values) for label, values in TARGET_LABELS.items()})
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                metrics[sample.name].setdefault(label, set()).add(value)
            assert metrics[sample.name]
    return dict(metrics)


@pytest.fixture(scope="module")
def known(exposed: Metrics) -> Metrics:
    """That, and what Prometheus makes of it."""
    alert_labels = {label for rule in ALERTS for label in rule["labels"]}
    recorded = {rule["record"]: {"job": {"tasks-api"}} for rule in RULES if "record" in rule}
    alerts = TARGET_LABELS | ALERT_LABELS | {label: set() for label in alert_labels - TARGET_LABELS.keys()}
    return exposed | recorded | {"up": TARGET_LABELS, "ALERTS": alerts}


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_metric_label_and_bucket_exists(query: Query, known: Metrics) -> None:
    for selector in query.selectors:
        labels = known[selector.name or ""]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels
            if matcher.name in CLOSED:
                assert matcher.value in labels[matcher.name]
    for by, selectors in query.sums:
        assert all(by <= known[selector.name or ""].keys() for selector in selectors)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_another_service_with_the_same_metrics_is_left_out(query: Query) -> None:
    for selector in query.selectors:
        matchers = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
        assert ("job", "tasks-api") in matchers or (selector.name or "").startswith("job:")


def test_the_dashboard_shows_everything_that_is_told(exposed: Metrics) -> None:
    shown = {selector.name or "" for query in dashboard_queries() for selector in query.selectors}
    assert {_family(name) for name in exposed} <= {_family(name) for name in shown}


def _family(name: str) -> str:
    return re.sub(r"_(bucket|count|sum|created)$", "", name)


def test_a_legend_names_only_labels_that_are_left() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= Query(target["expr"]).by, panel["title"]


def test_an_alert_says_what_how_much_and_where_to_look() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert "$value" in rule["annotations"]["description"]


def test_a_runbook_sends_nobody_to_a_row_that_is_not_there() -> None:
    rows = {panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"}
    runbooks = " ".join(rule["annotations"]["runbook"] for rule in ALERTS)
    named = set(re.findall(r"\brows? (?:the )?([A-Z]\w+)", runbooks)) | set(re.findall(r"\band ([A-Z]\w+)", runbooks))
    assert named <= rows
    assert named


def test_the_panels_have_ids_of_their_own_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24  # Grafana's grid


def test_every_panel_asks_the_datasource_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((OBSERVABILITY / "datasources/prometheus.yml").read_text())["datasources"]
    asked = [*PANELS, *(target for panel in PANELS for target in panel["targets"]), *DASHBOARD["annotations"]["list"]]
    assert {(each["datasource"]["type"], each["datasource"]["uid"]) for each in asked} == {
        (source["type"], source["uid"])
    }


def test_the_stack_fits_together() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    prometheus = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    (source,) = yaml.safe_load((OBSERVABILITY / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((OBSERVABILITY / "dashboards/provider.yml").read_text())["providers"]
    assert {job["job_name"]} == TARGET_LABELS["job"]
    assert discovery["names"] == ["backend"]
    assert discovery["port"] == services["backend"]["environment"]["METRICS_PORT"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted


def test_nothing_is_published_to_other_machines_and_the_metrics_not_at_all() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observability"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
    (published,) = services["backend"]["ports"]
    assert published.endswith(f":{services['backend']['environment']['PORT']}")
