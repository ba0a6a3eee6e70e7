"""Declarations of jobs that are refused when they are declared."""

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from groundwork.jobs.handlers import Jobs
from groundwork.tests.jobs.example import at_least_once


def test_a_decorator_without_a_name_is_told_the_name_to_write() -> None:
    with pytest.raises(TypeError, match=r'the job has no name: write @jobs.job\("at_least_once"\)'):
        Jobs().job(at_least_once)  # type: ignore[arg-type]


def test_a_name_fits_into_its_column() -> None:
    jobs = Jobs()
    jobs.job("n" * 100)
    with pytest.raises(ValueError, match="must have at most 100 characters"):
        jobs.job("n" * 101)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_an_attempt_has_time(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"a: timeout_seconds is {seconds}: give more than 0"):
        Jobs().job("a", timeout_seconds=seconds)


@pytest.mark.parametrize("pauses", [(5, -1), (math.nan,), (math.inf,), ("5",), "5", 5, None], ids=repr)
def test_pauses_are_seconds(pauses: Any) -> None:
    with pytest.raises(ValueError, match=r"a: retry_after is .*: write a tuple of seconds, as in \(5, 60\)"):
        Jobs().job("a", retry_after=pauses)


@pytest.mark.parametrize("pauses", [(), [0, 0.5], range(3)], ids=repr)
def test_there_may_be_any_number_of_pauses(pauses: Any) -> None:
    Jobs().job("a", retry_after=pauses)(at_least_once)


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_worker_does_at_least_one_job_at_once(concurrency: int) -> None:
    with pytest.raises(ValueError, match=f"concurrency is {concurrency}: give 1 or more"):
        Jobs(concurrency=concurrency)


def _traced(function: Any) -> Any:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


def _sync(job: Any, database: Any) -> None: ...


@pytest.mark.parametrize("function", [_sync, _traced(_sync)])
def test_a_function_that_nobody_can_await_is_refused(function: Callable[..., Any]) -> None:
    jobs = Jobs()
    with pytest.raises(TypeError, match="a: the worker awaits the function of a job: write async def _sync"):
        jobs.job("a")(function)
    assert not jobs.handlers


@pytest.mark.parametrize("function", [at_least_once, _traced(at_least_once), partial(at_least_once)])
def test_a_decorated_function_is_none_of_them(function: Callable[..., Any]) -> None:
    Jobs().job("a")(function)
