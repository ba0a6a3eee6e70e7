from pathlib import Path

from loadtests.gates import TOTAL, Result
from loadtests.report import Moment, Outcome, write

RESULTS = {"get": Result(1200, 3, 4, 20, 40, 20.5), TOTAL: Result(1200, 3, 4, 20, 40, 20.5)}


def outcome(missed: list[str]) -> Outcome:
    return Outcome("crud", "http://test", 100, 60, RESULTS, missed, ["A note."], [(3, "503 instead of <200>")])


def test_the_table_is_in_columns_and_ends_with_the_verdict() -> None:
    lines = outcome([]).text().splitlines()
    assert lines[1] == "crud: 100 users, 60 s, http://test"
    assert lines[2] == "operation  requests  failures  p50 ms  p95 ms  p99 ms  req/s"
    assert lines[3] == "get           1,200         3       4      20      40   20.5"
    assert lines[-1] == "The gate of crud was met."


def test_a_missed_gate_is_the_verdict() -> None:
    assert outcome(["p95: get took long"]).text().endswith("\nMISSED p95: get took long")


def test_the_report_holds_verdict_failures_and_plots(tmp_path: Path) -> None:
    write(tmp_path, outcome(["p95: get took long"]), [Moment(second, 100, RESULTS, 5) for second in range(1, 9)])
    page = (tmp_path / "report.html").read_text()
    assert "MISSED p95: get took long" in page
    assert "503 instead of &lt;200&gt;" in page
    assert page.count("<svg") == 3
    assert {path.name for path in tmp_path.glob("*.svg")} == {"latency.svg", "throughput.svg", "operations.svg"}


def test_a_test_that_ended_at_once_leaves_a_report(tmp_path: Path) -> None:
    write(tmp_path, Outcome("crud", "http://test", 0, 0, {}, [], [], []), [])
    assert (tmp_path / "report.html").exists()
