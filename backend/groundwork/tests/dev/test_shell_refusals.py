"""Every message with which a shell script or `make` ends says what to do, so that nobody needs the script to go on."""

import pytest

from groundwork.tests.dev.asks import ASKS
from groundwork.tests.dev.shell_refusals import Message, messages, scripts, silent

FOUND = [*messages()]
# They report, or pass on what another program has said.
NO_REFUSALS = {
    ".ci/check": {"x"},  # import-linter's and Caddy's own report
    ".ci/lock": {"x"},  # uv's own, with what to set
    "deploy/vm/database/backup": {"x: x bytes"},
    "deploy/vm/point-in-time/drill": {
        "pg_amcheck: every table and index is sound",
        "RPO x s: the newest transaction is of x UTC",
        "RPO unknown: nothing has been written since the backup",
        "RTO x s: from the command to a database that answers",
    },
    # The states that the health check shows, of which monitoring tells; what follows the message of make_backup.
    "deploy/vm/point-in-time/schedule": {"x", "the next try is in ten minutes"},
}
# Failures without a message of the script.
SILENT = {
    ("deploy/vm/database/backup", "trap 'kill x 2>/dev/null; exit 143' TERM INT HUP"): "a signal",
    ("deploy/vm/database/backup", "return 1"): "pg_dump and pg_restore have said why",
    ("deploy/vm/restore", "[[ $tables ]] || return 1"): "there is no table: an answer, no failure",
    (
        "backend/groundwork/dev/image.sh",
        'skopeo inspect --raw "$1" >"$raw" || { rm "$raw"; return 1; }',
    ): "skopeo says why",
    ("backend/groundwork/dev/image.sh", "usage() { sed -n '2,7s/^# *//p' \"$0\" >&2; exit 2; }"): "how it is used",
}


def test_they_are_found() -> None:
    assert len(FOUND) > 90
    assert {name for name, _ in scripts()} >= {
        "Makefile",
        ".ci/check",
        "deploy/vm/roll-out",
        "deploy/kubernetes/roll-out",
    }


def test_no_failure_is_without_a_message() -> None:
    assert {*silent()} == SILENT.keys()


@pytest.mark.parametrize("message", FOUND, ids=str)
def test_it_says_what_to_do(message: Message) -> None:
    assert message.text in NO_REFUSALS.get(message.script, ()) or ASKS.search(message.text), message


def test_what_is_allowed_beside_is_there() -> None:
    for script, texts in NO_REFUSALS.items():
        assert {each.text for each in FOUND if each.script == script} >= texts
