"""deploy/kubernetes: what the pods may do."""

import pytest

from groundwork.http.byte_budget import DEFAULT_BYTES
from groundwork.tests.deploy.targets import DEFAULTS, ROOT, Manifest, container, dockerfile, kubernetes, pod, template
from groundwork.tests.process.test_memory import LIMIT_MB

OVERLAYS = ("staging", "production")
PODS = ("Deployment", "Job", "CronJob")
# What two workers share: see tests/process/test_memory.py.
SHARED_MIB = 50


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> dict[str, Manifest]:
    return kubernetes(request.param)


@pytest.mark.parametrize("kind", PODS)
def test_pods_meet_the_restricted_standard(overlay: dict[str, Manifest], kind: str) -> None:
    spec, security = pod(overlay[kind]), container(overlay[kind])["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert overlay["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("kind", PODS)
def test_pods_run_as_the_images_user_with_the_images_scratch_space(overlay: dict[str, Manifest], kind: str) -> None:
    spec = pod(overlay[kind])
    user = f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
    assert user == dockerfile()["USER"]
    assert container(overlay[kind])["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}]


@pytest.mark.parametrize("kind", PODS)
def test_memory_is_promised_and_bounded(overlay: dict[str, Manifest], kind: str) -> None:
    resources = container(overlay[kind])["resources"]
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}
    assert resources["requests"]["cpu"]


def test_the_limit_holds_all_workers_with_their_budgets_full(overlay: dict[str, Manifest]) -> None:
    api = container(overlay["Deployment"])
    given = {each["name"]: each.get("value") for each in api["env"]}
    assert "MEMORY_BUDGET_BYTES" not in given
    assert DEFAULTS.memory_budget_bytes == DEFAULT_BYTES
    workers = int(given["WEB_CONCURRENCY"])
    scratch = int(pod(overlay["Deployment"])["volumes"][0]["emptyDir"]["sizeLimit"].removesuffix("Mi"))
    needed = workers * LIMIT_MB - (workers - 1) * SHARED_MIB + scratch
    assert needed <= int(api["resources"]["limits"]["memory"].removesuffix("Mi"))


def test_all_run_the_same_version(overlay: dict[str, Manifest]) -> None:
    [image] = {container(overlay[kind])["image"] for kind in PODS}
    assert not image.endswith(":latest")


def test_what_is_run_every_day_is_in_the_image(overlay: dict[str, Manifest]) -> None:
    assert pod(overlay["CronJob"])["restartPolicy"] == "Never"
    python, script = container(overlay["CronJob"])["command"]
    assert python == "python"
    assert f" {script} " in (ROOT / "backend/Dockerfile").read_text()


def test_only_production_is_ready_by_the_database() -> None:
    paths = {each: container(kubernetes(each)["Deployment"])["readinessProbe"]["httpGet"]["path"] for each in OVERLAYS}
    assert paths == {"production": "/health/ready", "staging": "/health/live"}


def test_a_restart_of_the_database_leaves_the_pods_in_service(overlay: dict[str, Manifest]) -> None:
    probe = container(overlay["Deployment"])["readinessProbe"]
    # Requests wait for `DATABASE_WAIT_SECONDS`, and can still be served then.
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) >= 10


def test_a_selector_finds_the_service_and_nothing_else(overlay: dict[str, Manifest]) -> None:
    selectors = (
        overlay["Service"]["spec"]["selector"],
        overlay["Deployment"]["spec"]["selector"]["matchLabels"],
        overlay["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod(overlay["Deployment"])["topologySpreadConstraints"]),
    )
    for selector in selectors:
        assert selector.items() <= template(overlay["Deployment"])["metadata"]["labels"].items()
        for kind in ("Job", "CronJob"):
            assert not selector.items() <= template(overlay[kind])["metadata"]["labels"].items()


def test_the_network_policy_covers_all_and_lets_in_one_namespace(overlay: dict[str, Manifest]) -> None:
    policy = overlay["NetworkPolicy"]["spec"]
    for kind in PODS:
        labels = template(overlay[kind])["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (way_in,) = policy["ingress"]
    assert [*way_in["from"][0]] == ["namespaceSelector"]
    assert way_in["ports"] == [
        {"protocol": "TCP", "port": container(overlay["Deployment"])["ports"][0]["containerPort"]}
    ]
    assert {each["port"] for rule in policy["egress"] for each in rule["ports"]} == {53, 5432}


def test_the_autoscaler_alone_sets_the_number_of_pods(overlay: dict[str, Manifest]) -> None:
    assert "replicas" not in overlay["Deployment"]["spec"]
    assert (
        overlay["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == (overlay["Deployment"]["metadata"]["name"])
    )
