"""The benchmark's arithmetic, and how it reads answers and processes."""

import math
import os
import subprocess
import sys

import pytest

from loadtests.benchmark.figures import percentile, ratio
from loadtests.benchmark.processes import busy_seconds, cpu_seconds, pss_bytes, tree
from loadtests.benchmark.report import Section, Verdict, render, replace
from loadtests.benchmark.wire import read_answer, read_tag, request

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX: y\r\n\r\n{}"


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([5], 50, 5), ([1, 2, 3, 4], 50, 2), (range(1, 101), 99, 99), (range(1, 102), 99, 100), ([1, 2], 100, 2)],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_nothing_measured_is_no_number() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(ratio(1, 0))
    assert ratio(3, 2) == 1.5


@pytest.mark.parametrize("size", range(len(ANSWER)))
def test_an_answer_is_not_read_before_it_is_whole(size: int) -> None:
    assert read_answer(ANSWER[:size]) is None


def test_an_answer_is_read() -> None:
    assert read_answer(ANSWER) == (201, len(ANSWER))


def test_an_answer_without_a_body_is_read_with_its_tag() -> None:
    answer = b'HTTP/1.1 304 Not Modified\r\nETag: "1-a"\r\n\r\n'
    assert read_answer(answer) == (304, len(answer))
    assert read_tag(answer.lower()) == b'"1-a"'


def test_a_request_says_how_long_its_body_is() -> None:
    assert request("POST", "/x", b"{}").endswith(b"Content-Length: 2\r\n\r\n{}")
    assert b"Content" not in request("GET", "/x")


def test_a_process_counts_with_what_it_started() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(tree(process.pid)) == 2
        assert pss_bytes(process.pid) > 1_000_000
        process.communicate(b"\n")
    assert busy_seconds() > cpu_seconds(os.getpid()) > 0


@pytest.mark.parametrize(("value", "met"), [(1.5, True), (1.51, False), (math.nan, False)])
def test_a_verdict_is_plain(value: float, met: bool) -> None:
    verdict = Verdict(1, "CPU of get", value, 1.5, aim=1.2)
    assert verdict.met is met
    assert ("MISSED" in str(verdict)) is not met


def test_the_report_counts_the_missed_targets() -> None:
    section = Section("Start", "Notes.", [["", "time"], ["import", "1 s"]], [Verdict(5, "start", 2, 1.3)])
    text = render([section], postgres="18.6", options="3 rounds")
    assert "| import | 1 s |" in text
    assert "0 of 1 met, 1 missed." in text


def test_a_part_that_is_measured_again_takes_its_place_in_the_report() -> None:
    def section(title: str, seconds: float) -> Section:
        return Section(title, "Notes.", [["", "time"], ["import", f"{seconds:g} s"]], [Verdict(5, title, seconds, 1.3)])

    old = render([section("Start", 2), section("Memory", 2)], postgres="18.6", options="3 rounds")
    new = replace(old, [section("Start", 1)], "make benchmark")
    assert "0 of 2 met, 2 missed." in old
    assert "1 of 2 met, 1 missed." in new
    assert new.count("| import | 1 s |") == new.count("| import | 2 s |") == 1
    assert "- Target 5, Start: 1.00 of at most 1.3: **met**" in new
    assert "Measured again on" in new.partition("## Memory")[0]
    with pytest.raises(ValueError, match="no section Growth"):
        replace(old, [section("Growth", 1)], "make benchmark")
