"""The metrics that deploy/vm writes for node_exporter, and the heartbeat after a good dump."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundwork.tests.deploy.targets import DEPLOY

VM = DEPLOY / "vm"
HEARTBEAT = VM / "database" / "heartbeat.py"
STATUS, SUCCESS = "command_last_exit_status", "command_last_success_timestamp_seconds"


def told(file: Path, command: str) -> dict[str, float]:
    samples = [each for family in text_string_to_metric_families(file.read_text()) for each in family.samples]
    assert all(sample.labels.get("command", command) == command for sample in samples)
    return {sample.name: sample.value for sample in samples}


def test_a_command_ends_as_it_does_and_a_failure_keeps_the_last_success(tmp_path: Path) -> None:
    shutil.copy(VM / "report", tmp_path)
    file = tmp_path / "reports" / "expire.prom"

    def report(*command: str) -> int:
        # From another folder, as cron does.
        return subprocess.run([tmp_path / "report", "expire", *command], cwd="/", check=False).returncode

    assert report("sh", "-c", "exit 3") == 3
    assert told(file, "expire") == {STATUS: 3}
    before = int(time.time())
    assert report("test", "-x", "report") == 0
    good = told(file, "expire")
    assert good[STATUS] == 0
    assert good[SUCCESS] >= before
    assert report("no-such-command") == 127
    assert told(file, "expire") == {STATUS: 127, SUCCESS: good[SUCCESS]}
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_report_that_cannot_be_written_is_said_and_hides_nothing(tmp_path: Path) -> None:
    shutil.copy(VM / "report", tmp_path)
    (tmp_path / "reports" / ".expire").mkdir(parents=True)
    done = subprocess.run([tmp_path / "report", "expire", "sh", "-c", "exit 3"], capture_output=True, check=False)
    assert done.returncode == 3
    assert b"nobody is told how expire ended" in done.stderr


class Receiver:
    def __init__(self) -> None:
        self.status = 200
        self.calls = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.calls += 1
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object, **__: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-of-the-check"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = Thread(target=receiver.server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@contextmanager
def heartbeat(directory: Path, url: str) -> Iterator[Callable[[], str]]:
    """Run the heartbeat. Yields a function that returns its output so far."""
    log = directory / "log"
    variables = {"HEARTBEAT_URL": url, "DUMP_REPORT": str(directory / "dump.prom"), "PAUSE_SECONDS": "0.05"}
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, HEARTBEAT], env=os.environ | variables, stderr=output) as process,
    ):
        try:
            yield log.read_text
        finally:
            process.terminate()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_good_dump_is_told_once_and_a_call_that_fails_again(tmp_path: Path, receiver: Receiver) -> None:
    dump = tmp_path / "dump.prom"
    receiver.status = 503
    with heartbeat(tmp_path, receiver.url) as said:
        dump.touch()
        until(lambda: receiver.calls >= 3)
        receiver.status = 200
        until(lambda: said().count("was called") == 1)
        calls = receiver.calls
        time.sleep(0.5)
        assert receiver.calls == calls
        os.utime(dump, (time.time() + 10, time.time() + 10))
        until(lambda: said().count("was called") == 2)
        assert receiver.calls == calls + 1
        assert "secret-of-the-check" not in said()


def test_an_old_dump_is_not_told_again_by_a_new_start(tmp_path: Path, receiver: Receiver) -> None:
    dump = tmp_path / "dump.prom"
    dump.touch()
    os.utime(dump, (time.time() - 7200, time.time() - 7200))
    with heartbeat(tmp_path, receiver.url):
        time.sleep(0.5)
        assert receiver.calls == 0
        dump.touch()
        until(lambda: receiver.calls == 1)


@pytest.mark.parametrize(("url", "says"), [("", "HEARTBEAT_URL is not set"), ("no-url", "cannot be called")])
def test_a_url_that_is_none_is_said(tmp_path: Path, url: str, says: str) -> None:
    (tmp_path / "dump.prom").touch()
    with heartbeat(tmp_path, url) as said:
        until(lambda: says in said())
