"""deploy/kubernetes/roll-out: the migration must succeed before anything else begins, and each failure is reported."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from groundwork.tests.deploy.targets import DEPLOY

COMPONENT = "app.kubernetes.io/component"
# Writes down each call, and fails the one that the test names.
KUBECTL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *"$FAILS"*) exit 1 ;; esac
case "$*" in
  kustomize*) printf '  namespace: production\\n  namespace: other\\n' ;;
  *activeDeadlineSeconds*) echo "$LIMIT" ;;
  *"get job migrate"*)
    if [ -e "$AWAY" ]; then rm "$AWAY"; echo "no connection" >&2; exit 1; fi
    echo "$ENDS" ;;
  *"get pods"*) echo "migrate-x: Pending ImagePullBackOff" ;;
  *"get deployments"*) printf 'deployment.apps/tasks-api\\ndeployment.apps/worker\\n' ;;
  *logs*) echo "the table is locked" ;;
esac
"""


class Done(NamedTuple):
    code: int
    calls: list[str]
    said: str
    error: str


class Cluster:
    """A folder with a kubectl that answers as the test says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.away = folder / "away"
        self._program("kubectl", KUBECTL)
        self._program("sleep", "#!/bin/sh\n")

    def _program(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
        (self._folder / name).chmod(0o755)

    def roll_out(
        self, *arguments: str, fails: str = "nothing", ends: str = "SuccessCriteriaMet Complete", limit: int = 600
    ) -> Done:
        calls = self._folder / "calls"
        calls.touch()
        environment = {
            "PATH": f"{self._folder}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "FAILS": fails,
            "ENDS": ends,
            "LIMIT": str(limit),
            "AWAY": str(self.away),
        }
        command = [str(DEPLOY / "kubernetes/roll-out"), *(arguments or ["production"])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
        return Done(done.returncode, calls.read_text().splitlines(), done.stdout, done.stderr)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def changes(done: Done) -> list[str]:
    return [call for call in done.calls if {"delete", "apply", "rollout"} & set(call.split())]


def test_the_migration_ends_once_before_the_new_version_begins(cluster: Cluster) -> None:
    done = cluster.roll_out()
    assert (done.code, done.error) == (0, "")
    removed, migration, service, *followed = changes(done)
    assert "--namespace production delete job migrate" in removed
    # The pods of the last migration are gone too.
    assert "--cascade=foreground" in removed
    assert migration.endswith(f"--selector {COMPONENT} notin (api, worker, expiry)")
    assert service.endswith(f"--selector {COMPONENT} in (api, worker, expiry)")
    assert [call.split()[-2] for call in followed] == ["deployment.apps/tasks-api", "deployment.apps/worker"]
    [*_, last_look] = [index for index, call in enumerate(done.calls) if "get job migrate" in call]
    assert done.calls.index(migration) < last_look < done.calls.index(service)


@pytest.mark.parametrize("ends", ["FailureTarget Failed", "Failed"])
def test_a_failed_migration_is_seen_at_once_and_shown(cluster: Cluster, ends: str) -> None:
    done = cluster.roll_out(ends=ends)
    assert done.code == 1
    assert "the table is locked" in done.error
    assert "the old version goes on serving" in done.error.splitlines()[-1]
    assert not [call for call in changes(done) if f"{COMPONENT} in " in call or "rollout" in call]
    assert len([call for call in done.calls if "get pods" in call]) == 1


def test_a_migration_that_never_ends_is_given_up_after_its_own_deadline(cluster: Cluster) -> None:
    done = cluster.roll_out(ends="", limit=-61)
    assert done.code == 1
    # What the pod waits for.
    assert "ImagePullBackOff" in done.said
    assert done.error.splitlines()[-1].startswith("roll-out: ")
    assert not [call for call in changes(done) if f"{COMPONENT} in " in call]


def test_a_cluster_that_does_not_answer_once_is_asked_again(cluster: Cluster) -> None:
    cluster.away.touch()
    done = cluster.roll_out()
    assert done.code == 0
    assert len(changes(done)) == 5


STEPS = [
    "kustomize",
    "delete job",
    "notin (api",
    "activeDeadlineSeconds",
    " in (api, worker, expiry)",
    "rollout status",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_is_the_last_and_ends_with_a_sentence(cluster: Cluster, step: str) -> None:
    done = cluster.roll_out(fails=step)
    assert done.code == 1
    assert done.error.splitlines()[-1].startswith("roll-out: ")
    assert done.error.endswith((".\n", "above.\n"))
    assert step in done.calls[-1]


@pytest.mark.parametrize("arguments", [("prod",), ("",), ("base",)])
def test_an_overlay_that_is_not_there(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    done = cluster.roll_out(*arguments)
    assert (done.code, done.calls) == (1, [])
    assert done.error == "roll-out: say which overlay: staging or production.\n"
