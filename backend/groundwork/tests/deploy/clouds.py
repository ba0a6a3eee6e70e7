"""Reads the files of AWS, Azure, Railway, Heroku and OpenTofu into the same form as those of the other targets."""

import json
import re
import shlex
from functools import cache
from typing import Any

import yaml

from groundwork.data.dsn import _VARIABLES
from groundwork.tests.deploy.targets import DEFAULTS, DEPLOY, Manifest, Target


class CloudFormation(yaml.SafeLoader):  # type: ignore[misc]
    """Reads CloudFormation's short forms, such as `!Ref Image`, as their text."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return f"!{suffix} {node.value}"
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None


CloudFormation.add_multi_constructor("!", _short_form)


@cache
def stack(name: str) -> Manifest:
    """The resources of a stack of deploy/aws."""
    loaded = yaml.load((DEPLOY / f"aws/{name}.yaml").read_text(), CloudFormation)
    resources: Manifest = loaded["Resources"]
    return {each: resource["Properties"] for each, resource in resources.items() if "Properties" in resource}


def aws_target() -> Target:
    service, migrate = stack("service"), stack("migrate")
    (api,), (migration,) = service["Task"]["ContainerDefinitions"], migrate["Migrate"]["ContainerDefinitions"]
    check = api["HealthCheck"]["Command"]
    assert check[:-1] == ["CMD", "python", "healthcheck.py"]
    rolling = service["Service"]["DeploymentConfiguration"]
    return Target(
        environment={each["Name"]: each["Value"] for each in api["Environment"]} | _secrets(api),
        migration_environment=_secrets(migration),
        migration=migration["Command"],
        command=api.get("Command"),
        port=api["PortMappings"][0]["ContainerPort"],
        traffic_probe=service["Targets"]["HealthCheckPath"],
        restart_probe=f"/health/{check[-1]}",
        pause_seconds=0,  # ECS waits for `deregistration_delay` first, and counts the stop from SIGTERM.
        grace_seconds=api["StopTimeout"],
        instances=service["Service"]["DesiredCount"] * rolling["MaximumPercent"] // 100,
        memory_mib=int(service["Task"]["Memory"]),
    )


def _secrets(container: Manifest) -> dict[str, str | None]:
    return {each["Name"]: None for each in container["Secrets"]}


@cache
def azure(name: str) -> Manifest:
    loaded: Manifest = yaml.safe_load((DEPLOY / f"azure/{name}.yaml").read_text())
    return loaded


def azure_target() -> Target:
    service, migrate = azure("service")["properties"], azure("migrate")["properties"]
    template = service["template"]
    (api,), (migration,) = template["containers"], migrate["template"]["containers"]
    probes = {each["type"]: each["httpGet"] for each in api["probes"]}
    assert {each["port"] for each in probes.values()} == {service["configuration"]["ingress"]["targetPort"]}
    return Target(
        environment={each["name"]: each.get("value") for each in api["env"]},
        migration_environment={each["name"]: each.get("value") for each in migration["env"]},
        migration=migration["command"],
        command=api.get("command"),
        port=service["configuration"]["ingress"]["targetPort"],
        traffic_probe=probes["Readiness"]["path"],
        restart_probe=probes["Liveness"]["path"],
        pause_seconds=0,
        grace_seconds=template["terminationGracePeriodSeconds"],
        instances=2 * template["scale"]["maxReplicas"],
        memory_mib=int(api["resources"]["memory"].removesuffix("Gi")) * 1024,
    )


def railway_target() -> Target:
    config = json.loads((DEPLOY / "railway/railway.json").read_text())
    dockerfile = DEPLOY / config["build"]["dockerfilePath"].removeprefix("/deploy/")
    (command,) = config["deploy"]["preDeployCommand"]
    # The platform's variables of the service, which all replicas get, are only URLs.
    given: dict[str, str | None] = dict(re.findall(r"\b([A-Z_]+)=(\S+)", dockerfile.read_text()))
    given |= {"DATABASE_URL": None, "DATABASE_DIRECT_URL": None}
    return Target(
        environment=given,
        migration_environment=given,
        migration=shlex.split(command),
        command=None,
        port=int(given["PORT"] or 0),
        traffic_probe=config["deploy"]["healthcheckPath"],
        restart_probe=None,
        pause_seconds=0,
        grace_seconds=config["deploy"]["drainingSeconds"],
        instances=2 * config["deploy"]["numReplicas"],
        memory_mib=8192,  # what a replica may take at most on the smallest paid plan
    )


def heroku_target() -> Target:
    settings = dict(line.split("=") for line in (DEPLOY / "heroku/settings").read_text().split())
    release = (DEPLOY / "heroku/Dockerfile").read_text().partition(" AS release\n")[2]
    page = (DEPLOY / "heroku/README.md").read_text()
    dynos, size = re.findall(r"heroku ps:scale web=(\d):(standard-\dx)", page)[0]
    given: dict[str, str | None] = {name: value for name, value in settings.items() if name not in _VARIABLES.values()}
    given |= {"DATABASE_URL": None}
    return Target(
        environment=given,
        migration_environment=given,
        migration=json.loads(release.partition("CMD ")[2]),
        command=None,
        port=DEFAULTS.port,  # Heroku sets PORT to another.
        traffic_probe="/health/live",  # It asks for none.
        restart_probe=None,
        pause_seconds=0,
        grace_seconds=30,  # Heroku's, for everyone
        instances=2 * int(dynos),
        memory_mib={"standard-1x": 512, "standard-2x": 1024}[size],
    )


CLOUDS = {"aws": aws_target, "azure": azure_target, "railway": railway_target, "heroku": heroku_target}
