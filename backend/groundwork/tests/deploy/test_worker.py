"""The worker of background jobs is off until a service has jobs, and may then do no more than the service."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.tests.deploy.targets import DEFAULTS, ROOT, container, dockerfile, pod, vm, with_components

COMMAND = ["python", "worker.py"]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """The manifests of production with the worker, by kind and name."""
    return with_components(tmp_path_factory.mktemp("kubernetes"), "production", "worker")


def test_the_pod_is_as_the_services(manifests: dict[tuple[str, str], Any]) -> None:
    worker, service = manifests["Deployment", "worker"], manifests["Deployment", "tasks-api"]
    assert container(worker)["command"] == COMMAND
    assert container(worker)["image"] == container(service)["image"]
    for name in ("securityContext", "volumeMounts"):
        assert container(worker)[name] == container(service)[name]
    for name in ("securityContext", "automountServiceAccountToken", "serviceAccountName", "volumes"):
        assert pod(worker)[name] == pod(service)[name]
    resources = container(worker)["resources"]
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}
    assert pod(worker)["terminationGracePeriodSeconds"] > DEFAULTS.graceful_shutdown_seconds
    # A new worker that crashes has to be noticed before the old one ends. There is no probe that could tell.
    assert "readinessProbe" not in container(worker)
    assert worker["spec"]["minReadySeconds"] >= 10


def test_no_selector_of_the_service_finds_the_worker(manifests: dict[tuple[str, str], Any]) -> None:
    labels = manifests["Deployment", "worker"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        manifests["Service", "tasks-api"]["spec"]["selector"],
        manifests["Deployment", "tasks-api"]["spec"]["selector"]["matchLabels"],
        manifests["PodDisruptionBudget", "tasks-api"]["spec"]["selector"]["matchLabels"],
    ):
        assert not selector.items() <= labels.items()
    own = manifests["NetworkPolicy", "worker"]["spec"]
    assert own["podSelector"]["matchLabels"].items() <= labels.items()
    assert manifests["NetworkPolicy", "tasks-api"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert own["policyTypes"] == ["Egress"]
    # Only public addresses may be reached, because a user writes a webhook's URL.
    [way_out] = own["egress"]
    assert way_out["ports"] == [{"protocol": "TCP", "port": 443}]
    assert all(to["ipBlock"]["except"] for to in way_out["to"])


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/vm/compose.yaml"])
def test_compose_starts_it_only_in_its_profile(file: str) -> None:
    worker = yaml.safe_load((ROOT / file).read_text())["services"]["worker"]
    assert (worker["profiles"], worker["command"]) == (["worker"], COMMAND)
    # With `disable: true`, `docker compose up --wait` fails: https://github.com/docker/compose/issues/13522.
    assert worker["healthcheck"]["test"] == ["CMD", "true"]
    assert "ports" not in worker
    assert int(worker["stop_grace_period"].removesuffix("s")) > DEFAULTS.graceful_shutdown_seconds
    # The worker bypasses the pooler, so that PostgreSQL can tell it of new jobs.
    assert "@db:5432/" in worker["environment"]["DATABASE_URL"]


def test_on_one_host_it_changes_rows_and_no_table() -> None:
    worker = vm()["services"]["worker"]
    assert worker["environment"]["DATABASE_URL"].startswith("postgresql://service:")
    assert {name for name, each in vm()["services"].items() if "out" in each["networks"]} == {"worker", "heartbeat"}


def test_it_is_in_the_image() -> None:
    files = (ROOT / "backend/Dockerfile").read_text()
    ignored = (ROOT / "backend/.dockerignore").read_text().splitlines()
    [copied] = [line for line in files.splitlines() if line.startswith("COPY alembic.ini")]
    for name in copied.split()[1:-1]:
        assert Path(ROOT / "backend" / name).exists()
        assert f"!{name}" in ignored
    assert "worker.py" in copied
    assert dockerfile()["USER"]
