"""What the log and `Server-Timing` say about a slow statement and its request, with and without `groundwork.fast`."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from groundwork.tests.process.locked import Locked
from groundwork.tests.process.server import STOCK, running

PATH = "/api/alice/tasks"
AGENT = 'tester/1.0 ("quoted"; ü)'
HEADERS = {b"x-request-id": b"slow-one", b"x-forwarded-for": b"203.0.113.9", b"user-agent": AGENT.encode("latin-1")}


@pytest.mark.parametrize("application", ["app.main:app", STOCK])
def test_a_slow_statement_is_named(tmp_path: Path, service_url: str, database_url: str, application: str) -> None:
    variables = {
        "DATABASE_URL": service_url,
        "SLOW_STATEMENT_SECONDS": "0.1",
        "SERVER_TIMING": "true",
        "FORWARDED_ALLOW_IPS": "127.0.0.1",
        "LOG_CLIENT_ADDRESS": "full",
    }
    with running(tmp_path, application=application, **variables) as service:
        with ThreadPoolExecutor() as threads:
            with Locked(database_url) as lock:
                asked = threads.submit(httpx.get, f"{service.url}{PATH}", headers=HEADERS)
                lock.wait_for(1)
                time.sleep(0.2)
            answer = asked.result()
        quick = httpx.get(f"{service.url}{PATH}", headers={"X-Request-ID": "quick-one"})
        service.wait_for_log("quick-one")
        events = service.events()
    (slow,) = [event for event in events if event["message"] == "slow statement"]
    assert (slow["level"], slow["request_id"], slow["statement"]) == ("warning", "slow-one", "tasks.list")
    assert (slow["rows"], slow["route"]) == (0, "/api/{user_id}/tasks")
    assert slow["seconds"] >= 0.1
    assert "alice" not in str(slow)

    (request,) = [event for event in events if event["message"] == "request" and event["request_id"] == "slow-one"]
    assert (request["client"], request["user_agent"]) == ("203.0.113.9", AGENT)
    assert (request["bytes_in"], request["bytes_out"]) == (0, len(answer.content))

    total, database, wait = _times(answer)
    assert total >= database >= 100
    assert abs(database - slow["seconds"] * 1000) <= 1
    assert total >= wait >= 0
    assert _times(quick)[1] > 0


def _times(answer: httpx.Response) -> list[float]:
    """The milliseconds of the whole request, of the database, and of the wait for a connection."""
    pattern = r"total;dur=([\d.]+), db;dur=([\d.]+), wait;dur=([\d.]+)"
    found = re.fullmatch(pattern, answer.headers["server-timing"])
    assert found
    return [float(text) for text in found.groups()]
