"""What makes a load test fail. These tests need no Locust."""

import pytest

from loadtests.gates import TOTAL, Gate, Result
from loadtests.scenarios import SCENARIOS, users_at

GOOD = Result(requests=200, p95=80)


def test_an_operation_within_every_limit_passes() -> None:
    assert Gate().missed({"get": GOOD, TOTAL: GOOD}, ["get"]) == []


@pytest.mark.parametrize(
    ("result", "gate"),
    [
        (Result(requests=200, failures=1, p95=80), "failures"),
        (Result(requests=200, p95=500), "p95"),
        (Result(requests=99, p95=80), "samples"),
        (Result(), "samples"),
    ],
)
def test_a_missed_limit_is_named_with_its_operation(result: Result, gate: str) -> None:
    [sentence] = Gate().missed({"get": GOOD, "list": result}, ["get", "list"])
    assert sentence.startswith(f"{gate}: list ")


def test_an_operation_that_was_never_sent_misses_the_gate() -> None:
    [sentence] = Gate().missed({"get": GOOD}, ["get", "delete"])
    assert sentence.startswith("samples: delete ")


def test_a_failure_of_anything_else_counts_too() -> None:
    missed = Gate().missed({"get": GOOD, "clear up": Result(requests=3, failures=3)}, ["get"])
    assert [sentence.partition(":")[0] for sentence in missed] == ["failures"]


def test_the_mission_is_100_users_under_500_ms_without_a_failure() -> None:
    crud = SCENARIOS["crud"]
    assert crud.users == 100
    assert crud.gate == Gate(p95_ms=500, samples=100)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_a_whole(name: str) -> None:
    assert sum(SCENARIOS[name].mix.values()) == 100


def test_a_spike_is_the_middle_third() -> None:
    spike = SCENARIOS["spike"]
    assert [users_at(spike, second, 500, 60) for second in (0, 19, 40, 59)] == [50, 50, 50, 50]
    assert [users_at(spike, second, 500, 60) for second in (20, 39)] == [500, 500]
    assert users_at(spike, 60, 500, 60) is None
