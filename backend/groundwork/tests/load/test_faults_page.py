"""The page on faults, and what `make test-faults ARGS=--write` writes."""

import re
import subprocess
import sys

from groundwork.tests.faults.measured import RESULTS, Measured, own_seconds, replace, rows
from groundwork.tests.load.quotes import ROOT


def test_every_measured_test_is_explained() -> None:
    page = (ROOT / "backend/groundwork/tests/faults/README.md").read_text()
    explained = re.findall(r"^\|.*\| `(test_[^`]+)` \|$", page, re.MULTILINE)
    written = rows(RESULTS.read_text()).keys()
    # Three times the same.
    assert sorted(explained) == sorted(written - {"test_stop[1]", "test_stop[2]"})


def test_what_was_measured_again_takes_its_place() -> None:
    first = replace("", {"test_b[a b]": Measured("2 s", "0.1", "1 May 2026"), "test_a": _of("1 s")}, postgres="18")
    both = replace(first, {"test_a": _of("3 s")}, postgres="18.6")
    assert rows(both) == {"test_a": _of("3 s"), "test_b[a b]": Measured("2 s", "0.1", "1 May 2026")}
    assert both.count("PostgreSQL 18.6") == 1


def _of(figures: str) -> Measured:
    return Measured(figures, "0.0", "2 May 2026")


def test_a_process_that_has_ended_was_own_work() -> None:
    before = own_seconds()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert own_seconds() - before > 0.2
