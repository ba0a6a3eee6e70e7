"""Argo CD, Flux and Helm apply what the migration needs first, then the migration, then the service."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from groundwork.tests.deploy.targets import DEPLOY, Manifest, name_of, pod, rendered, require_schema

KUBERNETES = DEPLOY / "kubernetes"
JOB, ACCOUNT = ("Job", "migrate"), ("ServiceAccount", "migrate")
SERVED = {"api", "worker", "expiry"}
Manifests = dict[tuple[str, str], Manifest]


def overlay(folder: str, root: Path = KUBERNETES) -> Manifests:
    return {name_of(each): each for each in rendered(root / folder)}


def annotations(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"].get("annotations", {}))


def is_served(manifest: Manifest) -> bool:
    return manifest["metadata"].get("labels", {}).get("app.kubernetes.io/component") in SERVED


@pytest.fixture
def with_settings(tmp_path: Path) -> Path:
    """Production with a secret and settings of the team's own."""
    shutil.copytree(KUBERNETES, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "production/kustomization.yaml"
    added = "configMapGenerator:\n  - {name: settings, literals: [LOG_LEVEL=info]}\n"
    sealed = {"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "database"}}
    (tmp_path / "production/sealed.yaml").write_text(yaml.safe_dump(sealed))
    file.write_text(file.read_text().replace("  - ../base\n", "  - ../base\n  - sealed.yaml\n") + added)
    return tmp_path


@pytest.mark.parametrize("folder", ["argo-cd", "flux/migration", "flux/service", "helm"])
def test_what_is_rendered_fits_kubernetes(folder: str) -> None:
    for manifest in overlay(folder).values():
        require_schema(manifest)


def wave(manifest: Manifest) -> int:
    return int(annotations(manifest).get("argocd.argoproj.io/sync-wave", 0))


def test_argo_cd_makes_all_that_the_migration_needs_and_then_what_is_served(with_settings: Path) -> None:
    manifests = overlay("argo-cd", with_settings)
    assert {kind for kind, _ in manifests} >= {"SealedSecret", "ConfigMap", "NetworkPolicy", "ServiceAccount"}
    for name, manifest in manifests.items():
        if name != JOB:
            assert (wave(manifest) > wave(manifests[JOB])) == is_served(manifest), name
    assert ACCOUNT[1] == pod(manifests[JOB])["serviceAccountName"]
    # The hook runs in the same phase as the rest. A PreSync hook would run before its account exists.
    assert annotations(manifests[JOB])["argocd.argoproj.io/hook"] == "Sync"
    assert annotations(manifests[JOB])["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_argo_cds_application_names_the_overlay() -> None:
    application = yaml.safe_load((KUBERNETES / "argo-cd/application.yaml").read_text())["spec"]
    assert (DEPLOY.parent / application["source"]["path"] / "kustomization.yaml").exists()
    [namespace] = {name for kind, name in overlay("argo-cd") if kind == "Namespace"}
    assert application["destination"]["namespace"] == namespace


def test_fluxs_two_halves_are_production(with_settings: Path) -> None:
    whole = overlay("production", with_settings)
    first, second = overlay("flux/migration", with_settings), overlay("flux/service", with_settings)
    assert first.keys() | second.keys() == whole.keys()
    assert not first.keys() & second.keys()
    assert {name for name, each in whole.items() if is_served(each)} == second.keys()
    assert {JOB, ACCOUNT} <= first.keys()


def test_flux_applies_the_second_half_when_the_job_of_the_same_revision_has_ended() -> None:
    first, second = yaml.safe_load_all((KUBERNETES / "flux/tasks-api.yaml").read_text())
    assert second["spec"]["dependsOn"] == [{"name": first["metadata"]["name"]}]
    assert first["spec"]["sourceRef"] == second["spec"]["sourceRef"]
    assert first["spec"]["wait"] is True
    for each in (first, second):
        assert (DEPLOY.parent / each["spec"]["path"] / "kustomization.yaml").exists()
    job = overlay("flux/migration")[JOB]
    assert int(first["spec"]["timeout"].removesuffix("m")) * 60 > job["spec"]["activeDeadlineSeconds"]
    # The job is made again for a new version, and not because it is gone.
    assert annotations(job) == {"kustomize.toolkit.fluxcd.io/force": "enabled"}
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_helm_makes_the_account_and_the_migration_before_the_rest() -> None:
    manifests = overlay("helm")
    # `helm` keeps the release in the namespace.
    assert manifests.keys() == overlay("production").keys() - {("Namespace", "tasks-api")}
    hooks = {name: annotations(each) for name, each in manifests.items() if annotations(each)}
    assert hooks.keys() == {ACCOUNT, JOB}
    for each in hooks.values():
        assert each["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert each["helm.sh/hook-delete-policy"] == "before-hook-creation"
    assert int(hooks[ACCOUNT]["helm.sh/hook-weight"]) < int(hooks[JOB]["helm.sh/hook-weight"])
    assert pod(manifests[JOB])["serviceAccountName"] == ACCOUNT[1]
    # The account is deleted and made again, so nothing that keeps running may use it.
    assert not [name for name, each in manifests.items() if name != JOB and "serviceAccountName: migrate" in str(each)]


@pytest.mark.skipif(not shutil.which("helm"), reason="helm is not installed")
def test_the_chart_is_what_kustomize_has_rendered(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES / "helm/chart", tmp_path / "chart", dirs_exist_ok=True)
    (tmp_path / "chart/production.yaml").unlink(missing_ok=True)
    command = ["helm", "template", "tasks-api", str(tmp_path / "chart"), "--namespace", "tasks-api"]
    without = subprocess.run(command, capture_output=True, text=True, check=False)
    assert without.returncode != 0
    assert "deploy/kubernetes/helm/upgrade renders it" in without.stderr
    (tmp_path / "chart/production.yaml").write_text(yaml.safe_dump_all(overlay("helm").values()))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {name_of(each): each for each in yaml.safe_load_all(done.stdout)} == overlay("helm")


@pytest.mark.parametrize("fails", ["kubectl", "helm", ""])
def test_an_upgrade_renders_first_and_ends_with_a_sentence(tmp_path: Path, fails: str) -> None:
    shutil.copytree(KUBERNETES / "helm", tmp_path / "copy")
    calls = tmp_path / "calls"
    for name, says in {"kubectl": "kind: Deployment", "helm": ""}.items():
        code = int(name == fails)
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\necho "{says}"\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(tmp_path / "copy/upgrade"), "--dry-run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    called = calls.read_text().splitlines()
    assert [call.split()[0] for call in called] == (["kubectl"] if fails == "kubectl" else ["kubectl", "helm"])
    assert done.returncode == int(bool(fails))
    assert (done.stderr.splitlines()[-1:] or [""])[0].startswith("upgrade: " if fails else "")
    if fails != "kubectl":
        assert (tmp_path / "copy/chart/production.yaml").read_text() == "kind: Deployment\n"
        assert called[1].endswith("--dry-run")
