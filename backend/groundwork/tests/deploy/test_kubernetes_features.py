"""deploy/kubernetes/components: each brings the settings and the network that its feature needs, and no more."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from groundwork.serve.settings import Settings
from groundwork.tests.deploy.targets import (
    DEPLOY,
    Manifest,
    container,
    environment,
    kubernetes,
    name_of,
    rendered,
    require_schema,
    template,
    with_components,
)

COMPONENTS = sorted(each.name for each in (DEPLOY / "kubernetes/components").iterdir())
OVERLAYS = ("staging", "production")
# Kinds of other projects, which Kubernetes' own schemas do not describe.
FOREIGN = {"Gateway", "HTTPRoute", "PodMonitor"}
API = ("Deployment", "tasks-api")
Manifests = dict[tuple[str, str], Manifest]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return with_components(tmp_path_factory.mktemp("everything"), "production", *COMPONENTS)


def settings_of(manifest: Manifest) -> dict[str, str | None]:
    return environment(container(manifest)["env"])


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_each_can_be_switched_on_alone(tmp_path: Path, overlay: str, component: str) -> None:
    before = {name_of(each): each for each in rendered(DEPLOY / "kubernetes" / overlay)}
    after = with_components(tmp_path, overlay, component)
    changed = {name[0] for name, each in before.items() if after[name] != each}
    assert changed <= {"Deployment", "ServiceAccount"}
    assert after != before
    for name, manifest in after.items():
        if name[0] not in FOREIGN:
            require_schema(manifest)
        if name[0] != "Namespace":
            assert manifest["metadata"]["namespace"] == before[API]["metadata"]["namespace"]


def test_all_together_keep_every_setting(everything: Manifests) -> None:
    given = settings_of(everything[API])
    assert given.items() >= environment(container(kubernetes("production")["Deployment"])["env"]).items()
    settings = Settings.model_validate(
        {name.lower(): value or "postgresql://user:password@host/database" for name, value in given.items()}
    )
    assert settings.auth_issuer is not None
    assert settings.metrics_port is not None


@pytest.mark.parametrize("name", ["sign-in", "tracing", "metrics", "worker"])
def test_a_policy_is_for_pods_that_are_there(everything: Manifests, name: str) -> None:
    selector = everything["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"].items()
    deployment = "worker" if name == "worker" else "tasks-api"
    assert selector <= template(everything["Deployment", deployment])["metadata"]["labels"].items()


def test_the_issuer_is_reached_where_its_url_says(everything: Manifests) -> None:
    issuer = urlsplit(settings_of(everything[API])["AUTH_ISSUER"] or "")
    assert issuer.scheme == "https"
    policy = everything["NetworkPolicy", "sign-in"]["spec"]
    assert policy["policyTypes"] == ["Egress"]
    assert ports(policy["egress"]) == [issuer.port or 443]
    # The cluster's network and the metadata of its machines stay out of reach.
    assert all(to["ipBlock"]["except"] for to in policy["egress"][0]["to"])


def test_the_collector_is_reached_where_its_url_says(everything: Manifests) -> None:
    collector = urlsplit(settings_of(everything[API])["OTEL_EXPORTER_OTLP_ENDPOINT"] or "")
    policy = everything["NetworkPolicy", "tracing"]["spec"]
    assert policy["policyTypes"] == ["Egress"]
    assert ports(policy["egress"]) == [collector.port]
    assert (collector.hostname or "").split(".")[1] == namespace(policy["egress"][0]["to"])


@pytest.mark.parametrize("name", ["tasks-api", "worker"])
def test_prometheus_alone_reaches_the_metrics(everything: Manifests, name: str) -> None:
    policy = everything["NetworkPolicy", "metrics"]["spec"]
    monitor, deployment = everything["PodMonitor", name]["spec"], everything["Deployment", name]
    [endpoint] = monitor["podMetricsEndpoints"]
    [port] = [each["containerPort"] for each in container(deployment)["ports"] if each["name"] == endpoint["port"]]
    assert policy["policyTypes"] == ["Ingress"]
    assert namespace(policy["ingress"][0]["from"])
    assert ports(policy["ingress"]) == [port] == [int(settings_of(deployment)["METRICS_PORT"] or 0)]
    labels = template(deployment)["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    # The rules select the service's job by its name. A worker that is up must not hide that the service is down.
    assert (f'job="{labels[monitor["jobLabel"]]}"' in (DEPLOY / "observability/rules.yml").read_text()) == (
        name == "tasks-api"
    )


def test_every_account_pulls_with_the_secret(everything: Manifests) -> None:
    accounts = [each for (kind, _), each in everything.items() if kind == "ServiceAccount"]
    assert len(accounts) == 2
    assert all(each["imagePullSecrets"] == [{"name": "registry"}] for each in accounts)


def test_what_is_published_is_encrypted_and_is_the_service(everything: Manifests) -> None:
    ingress, service = everything["Ingress", "tasks-api"], everything["Service", "tasks-api"]
    [rule], [tls] = ingress["spec"]["rules"], ingress["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    [port] = service["spec"]["ports"]
    assert (backend["name"], backend["port"]) == (service["metadata"]["name"], {"name": port["name"]})

    gateway = everything["Gateway", "tasks-api"]
    listeners = {each["name"]: each for each in gateway["spec"]["listeners"]}
    assert listeners["https"]["tls"]["certificateRefs"] == [{"name": tls["secretName"]}]
    plain, encrypted = everything["HTTPRoute", "tasks-api-to-https"], everything["HTTPRoute", "tasks-api"]
    assert [parent["sectionName"] for parent in plain["spec"]["parentRefs"]] == ["http"]
    assert "backendRefs" not in plain["spec"]["rules"][0]
    assert [parent["sectionName"] for parent in encrypted["spec"]["parentRefs"]] == ["https"]
    assert encrypted["spec"]["rules"][0]["backendRefs"] == [{"name": service["metadata"]["name"], "port": port["port"]}]
    for each in (ingress, gateway):
        assert "cert-manager.io/cluster-issuer" in each["metadata"]["annotations"]
    hosts = {rule["host"], *plain["spec"]["hostnames"], *encrypted["spec"]["hostnames"]}
    assert hosts == {each["hostname"] for each in listeners.values()}


def ports(rules: list[dict[str, Any]]) -> list[int]:
    assert all(each["protocol"] == "TCP" for rule in rules for each in rule["ports"])
    return [each["port"] for rule in rules for each in rule["ports"]]


def namespace(peers: list[dict[str, Any]]) -> str:
    """The only namespace that a rule names."""
    [peer] = peers
    [*kinds] = peer
    assert kinds == ["namespaceSelector"]
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
