"""A failed test runs once more if the machine stood still during it, and only then."""

import os
import re
import subprocess
import sys
from pathlib import Path

from groundwork.tests import BACKEND

TESTS = """
import os
import signal
import subprocess
import time

import pytest

attempts, made = [], []


def stand_still():
    attempts.append(1)
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture(autouse=True)
def first_attempt(request):
    if attempts[:1] != [request.node.name]:
        attempts[:] = [request.node.name]


@pytest.fixture(scope="module")
def shared():
    made.append(1)
    stand_still()
    assert len(made) > 1


def test_fails_once_after_a_stop():
    stand_still()
    assert attempts.count(1) > 1


def test_fails_twice_after_a_stop():
    stand_still()
    assert False


def test_passes_after_a_stop():
    stand_still()


def test_fails_without_a_stop():
    time.sleep(0.5)
    attempts.append(1)
    assert attempts.count(1) > 1


def test_has_a_shared_fixture_that_fails_once(shared):
    pass


@pytest.mark.faults
def test_of_faults():
    stand_still()
    assert attempts.count(1) > 1


@pytest.mark.attack
def test_of_attack():
    stand_still()
    assert attempts.count(1) > 1
"""


OUTCOMES = {
    "fails_once_after_a_stop": {"RERUN", "PASSED"},
    "fails_twice_after_a_stop": {"RERUN", "FAILED"},
    "passes_after_a_stop": {"PASSED"},
    "fails_without_a_stop": {"FAILED"},
    "has_a_shared_fixture_that_fails_once": {"RERUN", "PASSED"},
    "of_faults": {"FAILED"},
    "of_attack": {"FAILED"},
}


def test_is_run_once_more_after_a_stop_alone_and_the_first_failure_stays_visible(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    faults\n    attack\n")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "groundwork.tests.stalls", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(BACKEND)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found: dict[str, set[str]] = {}
    for outcome, name in re.findall(r"^(RERUN|PASSED|FAILED|ERROR) test_it.py::test_(\w+)", done.stdout, re.MULTILINE):
        found.setdefault(name, set()).add(outcome)
    assert found == OUTCOMES
    shown = done.stdout.partition("RERUN test_it.py::test_fails_once_after_a_stop")[2].partition("RERUN")[0]
    assert "assert attempts.count(1) > 1" in shown
    assert re.search(r"stood still for 0\.[3-9] s during this test", shown)
