import pytest

from loadtests.scenarios import SCENARIOS, Scenario, users_at
from loadtests.search import Search

USERS, SECONDS = 100, 60


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_the_shares_are_percent(scenario: Scenario) -> None:
    assert sum(scenario.mix.values()) == 100


def test_the_gate_of_crud_is_the_missions() -> None:
    crud = SCENARIOS["crud"]
    assert (crud.users, crud.gate.p95_ms, crud.gate.samples) == (100, 500, 100)


@pytest.mark.parametrize(("elapsed", "users"), [(0, USERS), (59.9, USERS), (60, None)])
def test_a_steady_scenario_keeps_its_users_to_the_end(elapsed: float, users: int | None) -> None:
    assert users_at(SCENARIOS["crud"], elapsed, USERS, SECONDS) == users


@pytest.mark.parametrize(("elapsed", "users"), [(0, 10), (19, 10), (20, USERS), (39, USERS), (40, 10), (60, None)])
def test_a_spike_has_its_users_in_the_middle_third(elapsed: float, users: int | None) -> None:
    assert users_at(SCENARIOS["spike"], elapsed, USERS, SECONDS) == users


@pytest.mark.parametrize(("capacity", "found"), [(99, 0), (100, 100), (777, 750), (5000, 5000), (9999, 5000)])
def test_the_ramp_finds_the_highest_load_that_passes(capacity: int, found: int) -> None:
    search = Search(100, 5000)
    for _ in range(20):
        if search.is_over():
            break
        search.judge(passed=search.users <= capacity)
    assert search.is_over()
    assert search.passed == found
