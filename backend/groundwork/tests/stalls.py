"""A failed test runs once more if the machine stood still meanwhile, because then its failure proves little.

A shared machine can stop a process, or one of its processors, for a second. A test that waits for something then fails
although nothing is wrong. Here one thread on each processor sleeps for a moment at a time and notes how late it wakes
up. On a machine that is only busy, that is some hundredths of a second.

Nothing is hidden: the summary shows each first failure with its traceback, as RERUN. The tests of faults and attacks
run once in any case, because the service must bear a stop of the machine too.
"""

import os
import sys
import threading
from collections.abc import Generator
from time import monotonic, sleep

import pytest

LIMIT_SECONDS = 0.2
_SLEEP_SECONDS = 0.05
_RUN_ONCE = ("faults", "attack")


class Watch:
    """Notes when the machine stands still."""

    def __init__(self) -> None:
        self.stops: list[float] = []
        """How long each stop took in seconds, from `LIMIT_SECONDS` on, since the list was last cleared."""
        self._ended = threading.Event()

    def start(self) -> None:
        processors = os.sched_getaffinity(0) if sys.platform == "linux" else {0}
        for processor in processors:
            threading.Thread(target=self._run, args=(processor,), daemon=True, name=f"stalls {processor}").start()

    def stop(self) -> None:
        self._ended.set()

    def has_seen_a_stop(self) -> bool:
        sleep(2 * _SLEEP_SECONDS)  # if a stop has just ended, the threads notice it now
        return bool(self.stops)

    def _run(self, processor: int) -> None:
        if sys.platform == "linux":
            os.sched_setaffinity(0, {processor})  # of this thread
        while not self._ended.is_set():
            began = monotonic()
            self._ended.wait(_SLEEP_SECONDS)
            late = monotonic() - began - _SLEEP_SECONDS
            if late >= LIMIT_SECONDS:
                self.stops.append(late)


watch = Watch()


def proves_little(failure: BaseException | None) -> bool:
    """Whether the test is to run once more. It is asked after each test: a `failure` of None is a test that passed."""
    return failure is not None and watch.has_seen_a_stop()


def pytest_configure(config: pytest.Config) -> None:
    config.option.rerun_show_tracebacks = True


def pytest_sessionstart() -> None:
    watch.start()


def pytest_sessionfinish() -> None:
    watch.stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.usepdb:
        return  # who debugs wants to see the first failure
    once_more = pytest.mark.flaky(reruns=1, condition=proves_little)
    for item in items:
        if not any(item.get_closest_marker(name) for name in _RUN_ONCE):
            item.add_marker(once_more)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    watch.stops.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says that the machine stood still."""
    report = yield
    add_section = getattr(report.longrepr, "addsection", None)
    if report.failed and add_section and watch.has_seen_a_stop():
        add_section("The machine", f"stood still for {max(watch.stops):.1f} s during this test")
    return report
