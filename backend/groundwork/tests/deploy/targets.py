"""Reads the files of deploy/ into the same form for every target."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kubernetes_validate import validate  # type: ignore[import-untyped]

from groundwork.data.connection_limits import RESERVE
from groundwork.serve.settings import Settings

ROOT = Path(__file__).parents[4]
DEPLOY = ROOT / "deploy"
DEFAULTS = Settings.model_validate({"database_url": "postgresql://user:password@host/database"})
MIGRATE = ["python", "-m", "alembic", "upgrade", "head"]
Manifest = dict[str, Any]


class Target(NamedTuple):
    environment: dict[str, str | None]
    """The variables of the service. The value of a secret is None."""
    migration_environment: dict[str, str | None]
    migration: list[str]
    command: list[str] | None
    """The command of the container; None for the image's own."""
    port: int
    traffic_probe: str
    """The path that decides whether an instance gets requests."""
    restart_probe: str | None
    """The path that decides whether an instance is restarted."""
    pause_seconds: int
    """How long the instance goes on serving before SIGTERM."""
    grace_seconds: int
    """The time from the beginning of that pause to SIGKILL."""
    instances: int
    """The largest number of instances at once. During a roll-out, it includes those of the old version."""
    memory_mib: int

    def setting(self, name: str) -> int:
        """The value of a setting, as the service will read it."""
        return int(self.environment.get(name.upper()) or getattr(DEFAULTS, name))

    @property
    def connections(self) -> int:
        """The largest number of connections to the database."""
        pools = self.instances * self.setting("web_concurrency") * self.setting("database_pool_size")
        return pools + RESERVE


@cache
def dockerfile() -> dict[str, str]:
    """The last occurrence of each instruction in backend/Dockerfile."""
    return dict(re.findall(r"^([A-Z]+) (.+)$", (ROOT / "backend/Dockerfile").read_text(), re.MULTILINE))


@cache
def rendered(folder: Path) -> list[Manifest]:
    """The manifests that kustomize renders from a folder."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which renders deploy/kubernetes, is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@cache
def kubernetes(overlay: str) -> dict[str, Manifest]:
    """The rendered manifests of an overlay by kind, without the migration's account."""
    manifests = rendered(DEPLOY / "kubernetes" / overlay)
    return {each["kind"]: each for each in manifests if name_of(each) != ("ServiceAccount", "migrate")}


def with_components(copy: Path, overlay: str, *names: str) -> dict[tuple[str, str], Manifest]:
    """The manifests of the overlay by kind and name, with these components switched on as README.md says."""
    shutil.copytree(DEPLOY / "kubernetes", copy, dirs_exist_ok=True)
    file = copy / overlay / "kustomization.yaml"
    text = file.read_text()
    for name in names:
        line = f"  # - ../components/{name}\n"
        assert text.count(line) == 1
        text = text.replace(line, line.replace("# ", ""))
    file.write_text(text)
    return {name_of(each): each for each in rendered(copy / overlay)}


def require_schema(manifest: Manifest) -> None:
    """Check a manifest against Kubernetes' own schemas, which do not know other projects' kinds."""
    validate(manifest, "1.33", strict=True)


def name_of(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def template(manifest: Manifest) -> Manifest:
    """The template of the pods of a Deployment, a Job or a CronJob."""
    found: Manifest = manifest["spec"].get("jobTemplate", manifest)["spec"]["template"]
    return found


def pod(manifest: Manifest) -> Manifest:
    spec: Manifest = template(manifest)["spec"]
    return spec


def container(manifest: Manifest) -> Manifest:
    """The only container of such pods."""
    (only,) = pod(manifest)["containers"]
    return dict(only)


def environment(entries: list[Manifest]) -> dict[str, str | None]:
    return {each["name"]: each.get("value") for each in entries}


def kubernetes_target(overlay: str) -> Target:
    manifests = kubernetes(overlay)
    deployment, job = manifests["Deployment"]["spec"], container(manifests["Job"])
    api = container(manifests["Deployment"])
    grace_seconds = pod(manifests["Deployment"])["terminationGracePeriodSeconds"]
    leaving = -(-grace_seconds // deployment["minReadySeconds"])
    surge = deployment["strategy"]["rollingUpdate"]["maxSurge"]
    return Target(
        environment=environment(api["env"]),
        migration_environment=environment(job["env"]),
        migration=job["command"],
        command=api.get("command"),
        port=api["ports"][0]["containerPort"],
        traffic_probe=api["readinessProbe"]["httpGet"]["path"],
        restart_probe=api["livenessProbe"]["httpGet"]["path"],
        pause_seconds=api["lifecycle"]["preStop"]["sleep"]["seconds"],
        grace_seconds=grace_seconds,
        instances=manifests["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] + surge + leaving,
        memory_mib=int(api["resources"]["limits"]["memory"].removesuffix("Mi")),
    )


def cloud_run_target() -> Target:
    service = yaml.safe_load((DEPLOY / "cloud-run/service.yaml").read_text())["spec"]["template"]
    job = yaml.safe_load((DEPLOY / "cloud-run/migrate.yaml").read_text())["spec"]["template"]
    (api,), migration = service["spec"]["containers"], container(job)
    return Target(
        environment=environment(api["env"]) | {"PORT": str(api["ports"][0]["containerPort"])},
        migration_environment=environment(migration["env"]),
        migration=migration["command"],
        command=api.get("command"),
        port=api["ports"][0]["containerPort"],
        traffic_probe=api["startupProbe"]["httpGet"]["path"],
        restart_probe=api["livenessProbe"]["httpGet"]["path"],
        pause_seconds=0,
        grace_seconds=10,  # Cloud Run has this value for everyone
        instances=2 * int(service["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"]),
        memory_mib=int(api["resources"]["limits"]["memory"].removesuffix("Mi")),
    )


def fly_target() -> Target:
    app = tomllib.loads((DEPLOY / "fly/fly.toml").read_text())
    (check,), (machine,) = app["http_service"]["checks"], app["vm"]
    # All machines get the secrets of `fly secrets`.
    given = app["env"] | {"DATABASE_URL": None, "DATABASE_DIRECT_URL": None}
    assert app["deploy"]["strategy"] == "bluegreen"
    return Target(
        environment=given,
        migration_environment=given,
        migration=shlex.split(app["deploy"]["release_command"]),
        command=None,
        port=app["http_service"]["internal_port"],
        traffic_probe=check["path"],
        restart_probe=None,
        pause_seconds=0,
        grace_seconds=app["kill_timeout"],
        instances=2 * app["http_service"]["min_machines_running"],
        memory_mib=int(machine["memory"].removesuffix("mb")),
    )


def render_target() -> Target:
    (service,) = yaml.safe_load((DEPLOY / "render/render.yaml").read_text())["services"]
    given = {each["key"]: each.get("value") for each in service["envVars"]}
    return Target(
        environment=given,
        migration_environment=given,
        migration=shlex.split(service["preDeployCommand"]),
        command=None,
        port=int(given["PORT"]),
        traffic_probe=service["healthCheckPath"],
        restart_probe=service["healthCheckPath"],
        pause_seconds=0,
        grace_seconds=service["maxShutdownDelaySeconds"],
        instances=2 * service["numInstances"],
        memory_mib={"starter": 512, "standard": 2048}[service["plan"]],
    )


@cache
def vm() -> Manifest:
    compose: Manifest = yaml.safe_load((DEPLOY / "vm/compose.yaml").read_text())
    return compose


def vm_target() -> Target:
    service, migrate = vm()["services"]["backend"], vm()["services"]["migrate"]
    check = service["healthcheck"]["test"]
    assert check[:-1] == ["CMD", "python", "healthcheck.py"]
    return Target(
        environment=_without_secrets(service["environment"]),
        migration_environment=_without_secrets(migrate["environment"]),
        migration=migrate["command"],
        command=service.get("command"),
        port=service["environment"]["PORT"],
        traffic_probe=f"/health/{check[-1]}",
        restart_probe=None,
        pause_seconds=0,
        grace_seconds=int(service["stop_grace_period"].removesuffix("s")),
        # `backend` and `next`.
        instances=2,
        memory_mib=int(service["mem_limit"].removesuffix("m")),
    )


def _without_secrets(environment: dict[str, Any]) -> dict[str, str | None]:
    """The environment, in which the values that Compose takes from .env are None."""
    return {name: None if "${" in str(value) else str(value) for name, value in environment.items()}


TARGETS = {
    "kubernetes/production": lambda: kubernetes_target("production"),
    "kubernetes/staging": lambda: kubernetes_target("staging"),
    "cloud-run": cloud_run_target,
    "fly": fly_target,
    "render": render_target,
    "vm": vm_target,
}


def image_command() -> list[str]:
    """The image's default command."""
    return list(json.loads(dockerfile()["CMD"]))
