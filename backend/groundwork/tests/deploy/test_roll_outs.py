"""The scripts that roll out on AWS and Azure, with a stand-in for each platform's command, which fails on demand."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from groundwork.tests.deploy.targets import DEPLOY

# Writes each call into a file. Answers as the real command does, or fails if the call contains $FAILS.
STAND_IN = """\
#!/usr/bin/env bash
echo "$*" >> "$CALLS"
if [[ $FAILS && "$*" == *"$FAILS"* ]]; then echo "refused" >&2; exit 254; fi
case "$*" in
  *"OutputKey=='PublicAddress'"*) echo ENABLED ;;
  *describe-stacks*) echo some-value ;;
  *run-task*) echo "${TASK-arn:aws:ecs:some:task}" ;;
  *describe-tasks*) printf '%s\\tEssential container in task exited\\n' "$OUTCOME" ;;
  *"job start"*) echo "${TASK-tasks-api-migrate-1}" ;;
  *"execution show"*) echo "$OUTCOME" ;;
esac
"""


class Cloud(NamedTuple):
    program: str
    arguments: list[str]
    good: str
    """The status of a migration that has succeeded."""
    bad: list[str]
    steps: list[str]
    """Parts of the calls, in their order. The last call changes the service."""


CLOUDS = {
    "aws": Cloud(
        "aws",
        ["registry/tasks-api-backend:2.0.0"],
        "0",
        ["1", "None"],
        [
            "--stack-name tasks-api-migrate",
            "ecs run-task",
            "ecs wait",
            "ecs describe-tasks",
            "--stack-name tasks-api-service",
        ],
    ),
    "azure": Cloud(
        "az",
        ["GROUP"],
        "Succeeded",
        ["Failed", "Stopped", "Degraded"],
        ["job update", "job start", "execution show", "containerapp update --name tasks-api "],
    ),
}


@pytest.fixture(params=CLOUDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def roll_out(
    name: str, folder: Path, outcome: str = "", fails: str = "", **more: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script. Returns the ended process, and the steps that were called."""
    cloud, calls = CLOUDS[name], folder / "calls"
    program = folder / "bin" / cloud.program
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    done = subprocess.run(
        [DEPLOY / name / "roll-out", *cloud.arguments],
        capture_output=True, text=True, check=False, timeout=60,
        env={
            "PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(calls), "FAILS": fails,
            "OUTCOME": outcome or cloud.good, "PAUSE_SECONDS": "0", **more,
        },
    )  # fmt: skip
    lines = calls.read_text().splitlines()
    deploys = [line for line in lines if "describe-stacks" not in line]
    return done, [step for line in deploys for step in cloud.steps if step in line]


def test_the_service_is_changed_after_the_migration(name: str, tmp_path: Path) -> None:
    done, steps = roll_out(name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert steps == CLOUDS[name].steps


def test_whichever_step_fails_the_service_is_not_touched(name: str, tmp_path: Path) -> None:
    for number, step in enumerate(CLOUDS[name].steps[:-1]):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, steps = roll_out(name, folder, fails=step)
        assert done.returncode != 0, step
        assert done.stderr.strip(), step
        assert steps == CLOUDS[name].steps[: number + 1]


def test_a_migration_that_fails_leaves_the_service_and_says_where_its_log_is(name: str, tmp_path: Path) -> None:
    for number, outcome in enumerate(CLOUDS[name].bad):
        folder = tmp_path / str(number)
        folder.mkdir()
        done, steps = roll_out(name, folder, outcome)
        assert done.returncode == 1
        assert "The service was not touched." in done.stderr
        assert "log" in done.stderr
        assert CLOUDS[name].steps[-1] not in steps


def test_a_task_that_cannot_be_started_is_no_success(name: str, tmp_path: Path) -> None:
    done, steps = roll_out(name, tmp_path, TASK="")
    assert done.returncode == 1
    assert "could not be started" in done.stderr
    assert len(steps) == 2


def test_without_an_argument_the_script_says_which_it_needs(name: str) -> None:
    done = subprocess.run([DEPLOY / name / "roll-out"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"deploy/{name}/roll-out " in done.stderr


def test_azures_two_files_must_name_one_image(tmp_path: Path) -> None:
    folder = tmp_path / "azure"
    folder.mkdir()
    for file in ("roll-out", "service.yaml", "migrate.yaml"):
        text = (DEPLOY / "azure" / file).read_text()
        (folder / file).write_text(text.replace(":0.1.0", ":0.2.0") if file == "service.yaml" else text)
    done = subprocess.run(["bash", folder / "roll-out", "GROUP"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "name different images" in done.stderr
