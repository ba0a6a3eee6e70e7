"""How many users there are at each moment."""

from typing import Any

from locust import LoadTestShape
from locust.env import Environment

from loadtests.gates import Result
from loadtests.measure import Mark, generator_cpu, mark, results
from loadtests.scenarios import SCENARIOS, users_at
from loadtests.search import Search

FIRST_USERS = 100
SETTLE_SECONDS = 5
STARTS = {"steady": 25, "ramp": 50, "spike": 100}
"""How many users start per second, by the scenario's shape. Each creates its first tasks without a pause."""
NEAR_A_FULL_CORE = 90


class Plan(LoadTestShape):
    """The scenario's plan. `--users` and `--run-time` change it."""

    use_common_options = True
    ramp: "Ramp | None" = None

    def reset_time(self) -> None:
        """Begin again. Locust calls this at the start of each test, and its page can start several."""
        super().reset_time()
        self.ramp = None

    def tick(self) -> tuple[int, float] | None:
        """How many users to have, and how many of them to start per second. Locust calls this once a second."""
        runner: Any = self.runner
        options = runner.environment.parsed_options
        scenario = SCENARIOS[options.scenario]
        most, seconds = options.num_users, options.run_time or scenario.seconds
        if scenario.shape == "ramp":
            self.ramp = self.ramp or Ramp(runner.environment, most, seconds)
            users = self.ramp.users()
        else:
            users = users_at(scenario, self.get_run_time(), most, seconds)
        # A steady load has all its users after a fifth of the time, however many they are.
        starts = max(STARTS[scenario.shape], 5 * users / seconds if users and scenario.shape == "steady" else 0)
        return None if users is None else (users, starts)


class Ramp:
    """Lets the search try one load after another. Each lasts `seconds` after it has settled."""

    def __init__(self, environment: Environment, most: int, seconds: float) -> None:
        self.search = Search(min(FIRST_USERS, most), most)
        self.best: dict[str, Result] = {}
        self.missed: list[str] = []
        self._environment = environment
        self._scenario = SCENARIOS["ramp"]
        self._seconds = seconds
        self._ticks = 0
        self._mark: Mark = {}

    def users(self) -> int | None:
        """How many users to have now. Call it once a second, after the users of the previous call have started."""
        self._ticks += 1
        if self._ticks == SETTLE_SECONDS:
            self._mark = mark(self._environment.stats)
        elif self._ticks >= SETTLE_SECONDS + self._seconds:
            self._judge()
            self._ticks = 0
        return None if self.search.is_over() else self.search.users

    def _judge(self) -> None:
        measured = results(self._environment.stats, self._seconds, self._mark)
        missed = self._scenario.gate.missed(measured, list(self._scenario.mix))
        if self._environment.runner and generator_cpu(self._environment.runner) >= NEAR_A_FULL_CORE:
            missed.append("generator: it used a full core, so this load says nothing about the service; PROCESSES=2")
        print(f"{self.search.users} users: {'; '.join(missed[:1]) or 'met'}", flush=True)
        if missed:
            self.missed = missed
        else:
            self.best = measured
        self.search.judge(passed=not missed)
