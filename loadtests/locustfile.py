"""The file that Locust loads: options, users, their number, and the verdict at the end."""

import logging
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests import report
from loadtests.gates import TOTAL
from loadtests.measure import follow_cpu, generator_cpu, mark, results
from loadtests.scenarios import SCENARIOS
from loadtests.shapes import NEAR_A_FULL_CORE, Plan
from loadtests.tasks import TaskUser

__all__ = ["Plan", "TaskUser"]

WINDOW_SECONDS = 5
PROGRESS_SECONDS = 5


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="crud")
    # The default is text and not a Path, because Locust's page writes the options as JSON.
    parser.add_argument("--report", default="loadtests/report", help="folder of the report")
    parser.add_argument("--clear-up", action="store_true", help="users that stop delete what they made")


@events.init.add_listener
def choose_users(environment: Environment, **_: object) -> None:
    """Use the scenario's number of users unless an option sets another. Locust's own default is 1."""
    options: Any = environment.parsed_options
    options.num_users = options.num_users or SCENARIOS[options.scenario].users


@events.test_start.add_listener
def watch(environment: Environment, **_: object) -> None:
    watchers = [gevent.spawn(follow_cpu, environment.runner)]
    environment.events.test_stopping.add_listener(lambda **_: gevent.killall(watchers))
    if isinstance(environment.runner, WorkerRunner):
        return
    logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)  # the report has its own table
    history.clear()  # entries of an earlier test, because Locust's page can start several
    watchers.append(gevent.spawn(_record, environment))


history: list[report.Moment] = []


def _record(environment: Environment) -> None:
    """Record once a second what the last few seconds were like. Print a line of it every few seconds."""
    runner: Any = environment.runner
    began, marks = time.monotonic(), [mark(environment.stats)]
    while True:
        gevent.sleep(1)
        recent = results(environment.stats, len(marks), marks[0])
        moment = report.Moment(time.monotonic() - began, runner.user_count, recent, generator_cpu(runner))
        history.append(moment)
        marks = [*marks, mark(environment.stats)][-WINDOW_SECONDS:]
        if len(history) % PROGRESS_SECONDS == 0:
            print(moment.line(), flush=True)


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    """Print and write what was measured; fail the process when the gate was missed. It never sets success: Locust has
    reasons of its own to fail."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options: Any = environment.parsed_options
    outcome = _outcome(environment)
    # A ramp looks for the load at which requests begin to fail. In every other scenario, failures miss the gate.
    options.exit_code_on_error = 0
    if outcome.missed:
        environment.process_exit_code = 1
    print(outcome.text(), flush=True)
    report.write(Path(options.report), outcome, history)


def _outcome(environment: Environment) -> report.Outcome:
    options: Any = environment.parsed_options
    runner: Any = environment.runner
    scenario = SCENARIOS[options.scenario]
    stats = environment.stats
    seconds = (stats.total.last_request_timestamp or stats.total.start_time) - stats.total.start_time
    measured = results(stats, max(seconds, 1))
    order = [*scenario.mix, *measured]
    measured = dict(sorted(measured.items(), key=lambda item: order.index(item[0])))
    users = max((moment.users for moment in history), default=0)
    missed, notes = scenario.gate.missed(measured, list(scenario.mix)), []
    # On Locust's page a person starts, changes and stops the users.
    if options.headless and users < options.num_users:
        missed.append(f"users: {users:,} of {options.num_users:,} had started when the test ended")
    ramp = environment.shape_class.ramp if isinstance(environment.shape_class, Plan) else None
    if ramp:
        users, missed = ramp.search.passed, [] if ramp.search.passed else ramp.missed or ["ramp: stopped too early"]
        measured = ramp.best or measured
        notes.append(_highest(ramp.search.passed, ramp.search.missed, measured[TOTAL].per_second, ramp.missed))
    missed += [f"exceptions: {error['msg']} ({error['count']} times)" for error in runner.exceptions.values()]
    cpu = max((moment.generator_cpu for moment in history), default=0)
    notes.append(f"The load generator's busiest process used {cpu:.0f} % of a core at most.")
    if options.scenario == "generator":
        notes.append("That is the most that this generator can send: a test of the service has to stay well below it.")
    elif cpu >= NEAR_A_FULL_CORE and not ramp:
        notes.append("It was the bottleneck: these figures are its own, not the service's. Try PROCESSES=2.")
    failures = sorted((error.occurrences, str(error.error)) for error in stats.errors.values())[::-1]
    return report.Outcome(options.scenario, options.host, users, seconds, measured, missed, notes, failures)


def _highest(passed: int, missed: int | None, per_second: float, reasons: list[str]) -> str:
    if not passed:
        return "No load met the gate."
    beyond = f"{missed:,} users missed it: {reasons[0]}" if missed else "no higher load was tried"
    return f"The highest load that met the gate: {passed:,} users, {per_second:,.0f} requests/s; {beyond}."
