"""Checks the manifests of other projects' kinds in deploy/kubernetes by the types of their schemas, from npm."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.tests.clients import run
from groundwork.tests.deploy.targets import DEPLOY

pytestmark = pytest.mark.clients

KUBERNETES = DEPLOY / "kubernetes"
# The npm package for each API group.
PACKAGES = {
    "argoproj.io": "argo-cd@4.0.0",
    "gateway.networking.k8s.io": "gateway-api@2.0.0",
    "kustomize.toolkit.fluxcd.io": "flux-cd@4.0.0",
    "monitoring.coreos.com": "prometheus-operator@6.0.0",
}
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]


def foreign() -> list[dict[str, Any]]:
    """Every manifest of another project's kind."""
    manifests = [each for file in KUBERNETES.rglob("*.yaml") if "chart" not in file.parts for each in documents(file)]
    return [each for each in manifests if each.get("apiVersion", "").split("/")[0] in PACKAGES]


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def declaration(number: int, manifest: dict[str, Any]) -> str:
    """A constant with the kind's type. The compiler refuses members that the schema does not have."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    package = PACKAGES[version.split("/")[0]].split("@")[0]
    return (
        f'import type {{ I{kind} as T{number} }} from "@kubernetes-models/{package}/{version}/{kind}";\n'
        f"export const v{number}: T{number} = {json.dumps(manifest)};\n"
    )


def test_every_field_is_one_of_the_schema(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    packages = [f"@kubernetes-models/{each}" for each in PACKAGES.values()]
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
    run(tmp_path, "npm", "install", *quiet, "typescript@5.9.3", *packages)
    manifests = foreign()
    assert {each["kind"] for each in manifests} == {
        "Application",
        "Gateway",
        "HTTPRoute",
        "Kustomization",
        "PodMonitor",
    }
    (tmp_path / "kinds.ts").write_text("".join(declaration(*each) for each in enumerate(manifests)))
    run(tmp_path, "npx", "tsc", *OPTIONS, "kinds.ts")
    # The compiler must find a member that is wrong.
    wrong = json.loads(json.dumps(manifests[0]))
    wrong["spec"]["notOfTheSchema"] = 1
    (tmp_path / "wrong.ts").write_text(declaration(0, wrong))
    with pytest.raises(AssertionError, match="notOfTheSchema"):
        run(tmp_path, "npx", "tsc", *OPTIONS, "wrong.ts")
