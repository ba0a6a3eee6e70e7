"""The queries in deploy/observability ask only for metrics that the service or an exporter has.

promtool tests what the rules do: see rules.test.yml and causes.test.yml beside this file.
"""

import re
from collections import defaultdict
from pathlib import Path

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from groundwork.observe.metrics import KEYS_TIME, STATEMENT, Counts
from groundwork.serve import metrics_endpoint
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
from groundwork.tests.deploy.targets import DEPLOY, ROOT

QUERIES = [*rule_queries(), *dashboard_queries()]
JOBS = {"tasks-api", "tasks-api-host", "tasks-api-database", "tasks-api-site"}
# The labels that Prometheus itself adds to every sample, and the metrics that it makes.
TARGET_LABELS: dict[str, set[str]] = {"job": JOBS, "instance": set()}
# The metrics of node_exporter 1.9.0, postgres_exporter 0.17.1 and blackbox_exporter 0.26.0, as they were scraped; those
# of kube-state-metrics, from its documentation; and those that deploy/vm writes for node_exporter.
EXPORTED = {
    "command_last_exit_status": ("command",),
    "command_last_success_timestamp_seconds": ("command",),
    "kube_job_failed": ("namespace", "job_name", "condition"),
    "node_filesystem_avail_bytes": ("device", "fstype", "mountpoint"),
    "node_filesystem_size_bytes": ("device", "fstype", "mountpoint"),
    "node_textfile_scrape_error": (),
    "pg_settings_max_connections": ("server",),
    "pg_stat_activity_count": ("state", "wait_event_type", "usename", "application_name"),
    "pg_stat_activity_max_tx_duration": ("state", "wait_event_type", "usename", "application_name"),
    "pg_stat_statements_query_id": ("queryid", "query"),
    "pg_stat_statements_seconds_total": ("user", "datname", "queryid"),
    "pg_up": (),
    "probe_ssl_earliest_cert_expiry": (),
    "probe_success": (),
}
ALERT_LABELS: dict[str, set[str]] = {"alertname": set(), "alertstate": {"firing", "pending"}}
# The labels with a fixed set of values. A query for another value never finds anything.
CLOSED = ("le", "state", "job", "alertstate")

Metrics = dict[str, dict[str, set[str]]]
"""The values of each label of each metric."""


@pytest.fixture(scope="module")
async def exposed() -> Metrics:
    """The service's metrics, after everything that has labels has happened once."""
    counts = Counts()
    monkeypatch = pytest.MonkeyPatch()
    counts.request("GET", "/api/{user_id}/things", 200, 0.1)
    counts.database_error("connection")
    counts.place((STATEMENT, "things.list"))
    counts.values[KEYS_TIME] = 1
    monkeypatch.setattr(metrics_endpoint, "container_memory", lambda: (1, 2))
    endpoint = MetricsEndpoint(counts, version="1", revision="1")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=endpoint), base_url="http://service") as client:
        text = (await client.get("/metrics")).text
    metrics: Metrics = defaultdict(lambda: {label: set(values) for label, values in TARGET_LABELS.items()})
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                metrics[sample.name].setdefault(label, set()).add(value)
            assert metrics[sample.name]
    monkeypatch.undo()
    return dict(metrics)


@pytest.fixture(scope="module")
def known(exposed: Metrics) -> Metrics:
    """The service's metrics, those of exporters, and those that Prometheus makes."""
    alert_labels = {label for rule in ALERTS for label in rule["labels"]}
    recorded = {rule["record"]: {"job": {"tasks-api"}} for rule in RULES if "record" in rule}
    alerts = TARGET_LABELS | ALERT_LABELS | {label: set() for label in alert_labels - TARGET_LABELS.keys()}
    others = {name: TARGET_LABELS | {label: set() for label in labels} for name, labels in EXPORTED.items()}
    return others | exposed | recorded | {"up": TARGET_LABELS, "ALERTS": alerts}


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_metric_label_and_bucket_exists(query: Query, known: Metrics) -> None:
    for selector in query.selectors:
        labels = known[selector.name or ""]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels
            # The values of the exporters' labels are not known.
            if matcher.name in CLOSED and labels[matcher.name] and matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in labels[matcher.name]
    for by, selectors in query.sums:
        assert all(by <= known[selector.name or ""].keys() for selector in selectors)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_another_service_with_the_same_metrics_is_left_out(query: Query) -> None:
    for selector in query.selectors:
        matchers = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
        assert (
            any(("job", job) in matchers for job in JOBS)
            # All of them.
            or matchers & {("job", "tasks-api-.+"), ("job", "tasks-api.*")}
            or ("namespace", "tasks-api") in matchers
            or (selector.name or "").startswith("job:")
        )


def test_the_dashboard_shows_everything_that_is_told(exposed: Metrics) -> None:
    shown = {selector.name or "" for query in dashboard_queries() for selector in query.selectors}
    assert {_family(name) for name in exposed} <= {_family(name) for name in shown}


def _family(name: str) -> str:
    return re.sub(r"_(bucket|count|sum|created)$", "", name)


def test_a_legend_names_only_labels_that_are_left() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= Query(target["expr"]).by, panel["title"]


def test_an_alert_says_what_how_much_and_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in (("none",) if rule["alert"] == "Watchdog" else ("page", "ticket"))
        assert rule["annotations"].keys() == {"summary", "description", "action", "runbook"}
        assert "$value" in rule["annotations"]["description"]
        # One sentence.
        assert re.fullmatch(r"[A-Z][^.]*(\.\w[^.]*)*\.", rule["annotations"]["action"]), rule["annotations"]["action"]


def test_an_alert_links_to_an_entry_that_names_it() -> None:
    entries = {
        re.sub(r"[^\w -]", "", entry.partition("\n")[0].lower()).replace(" ", "-"): entry
        for entry in (DEPLOY / "runbooks.md").read_text().split("\n## ")[1:]
    }
    for rule in ALERTS:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "deploy/runbooks.md"
        assert f"`{rule['alert']}`" in entries[anchor], rule["alert"]


def test_promtool_tries_every_alert() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("*.test.yml"))
    assert {rule["alert"] for rule in ALERTS} <= set(re.findall(r'alertname(?:: |=")(\w+)', tests))


def test_an_action_sends_nobody_to_a_row_that_is_not_there() -> None:
    rows = {panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"}
    actions = " ".join(rule["annotations"]["action"] for rule in ALERTS)
    named = set(re.findall(r"\brows? (?:the )?([A-Z]\w+)", actions)) | set(re.findall(r"\band ([A-Z]\w+)", actions))
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
    watching = yaml.safe_load((OBSERVABILITY / "compose.yaml").read_text())["services"]
    jobs = {each["job_name"]: each for each in prometheus["scrape_configs"]}
    (discovery,) = jobs["tasks-api"]["dns_sd_configs"]
    (source,) = yaml.safe_load((OBSERVABILITY / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((OBSERVABILITY / "dashboards/provider.yml").read_text())["providers"]
    assert jobs.keys() == TARGET_LABELS["job"]
    assert {host for text in (str(prometheus),) for host in re.findall(r"[\w-]+(?=:9\d{3}\b)", text)} == {
        "alertmanager",
        "blackbox-exporter",
        "node-exporter",
        "postgres-exporter",
    }
    for name, each in watching.items():
        # The same one in development, or the file itself.
        assert services[name].get("image", each["image"]) == each["image"]
        assert services[name].get("extends", {"service": name})["service"] == name
    assert discovery["names"] == ["backend"]
    assert discovery["port"] == services["backend"]["environment"]["METRICS_PORT"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted


def test_nothing_is_published_to_other_machines_and_the_metrics_not_at_all() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    watching = yaml.safe_load((OBSERVABILITY / "compose.yaml").read_text())["services"]
    for name in (*watching, "grafana"):
        assert services[name]["profiles"] == ["observability"]
    for each in (*watching.values(), *(services[name] for name in watching), services["grafana"]):
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", []))
    (published,) = services["backend"]["ports"]
    assert published.endswith(f":{services['backend']['environment']['PORT']}")
