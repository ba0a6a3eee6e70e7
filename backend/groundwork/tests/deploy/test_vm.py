"""deploy/vm: what its containers may do, and the order in which its scripts work."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from groundwork.data.connection_limits import RESERVE
from groundwork.tests.deploy.targets import DEFAULTS, DEPLOY, Manifest, vm
from groundwork.tests.deploy.test_targets import DATABASE_CONNECTIONS

VM = DEPLOY / "vm"
SERVICES = tuple(vm()["services"])


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Manifest:
    return dict(vm()["services"][request.param])


def test_a_container_may_do_nothing_that_it_need_not(service: Manifest) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if service["image"].startswith("caddy:") else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]


def test_no_log_fills_the_disk(service: Manifest) -> None:
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_no_image_is_whatever_is_newest(service: Manifest) -> None:
    name, _, tag = service["image"].partition(":")
    assert name
    assert tag not in ("", "latest")


def test_nothing_but_caddy_is_published_or_next_to_it() -> None:
    services = vm()["services"]
    assert [name for name, each in services.items() if "ports" in each] == ["caddy"]
    assert vm()["networks"]["data"] == {"internal": True}
    assert {name for name, each in services.items() if "front" in each["networks"]} == {"caddy", "backend", "next"}
    assert services["caddy"]["networks"] == ["front"]


def test_next_is_the_backend_and_starts_only_in_a_roll_out() -> None:
    backend, next_ = (dict(vm()["services"][name]) for name in ("backend", "next"))
    assert next_.pop("profiles") == ["roll-out"]
    assert backend.pop("depends_on")["migrate"] == {"condition": "service_completed_successfully"}
    assert next_ == backend


def test_the_service_does_not_know_the_owners_password() -> None:
    for name, each in vm()["services"].items():
        knows = "${POSTGRES_PASSWORD" in str(each["environment"])
        assert knows == (name in ("db", "migrate", "backup")), name


def test_it_does_not_start_without_what_it_needs() -> None:
    text = (VM / "compose.yaml").read_text()
    optional = {"HTTP_PORT", "HTTPS_PORT", "BACKUP_DIRECTORY", "BACKUP_HOUR", "BACKUP_KEEP_DAYS", "HEARTBEAT_URL"}
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text):
        assert rest.startswith(":-" if name in optional else ":?is not set. Put it into .env"), name
        assert name in (VM / "README.md").read_text() or name in ("HTTP_PORT", "HTTPS_PORT")


def test_the_poolers_connections_fit_the_database() -> None:
    pooler = vm()["services"]["pgbouncer"]["environment"]
    assert pooler["POOL_MODE"] == "transaction"
    assert pooler["DEFAULT_POOL_SIZE"] + RESERVE <= DATABASE_CONNECTIONS
    # Two versions at once, each with as many workers as there may be.
    assert 2 * 10 * DEFAULTS.database_pool_size <= pooler["MAX_CLIENT_CONN"]


def test_caddy_waits_longer_than_the_service_and_keeps_connections_for_less() -> None:
    text = (VM / "Caddyfile").read_text()
    seconds = {name: int(value) for name, value in re.findall(r"^\s*(\w+) (\d+)s$", text, re.MULTILINE)}
    slowest = DEFAULTS.database_wait_seconds + DEFAULTS.database_statement_seconds
    assert slowest < seconds["response_header_timeout"] < seconds["write"]
    assert seconds["read_header"] == DEFAULTS.client_wait_seconds
    assert seconds["read_body"] == 2 * DEFAULTS.client_wait_seconds
    assert seconds["idle"] == DEFAULTS.keep_alive_seconds
    assert DEFAULTS.graceful_shutdown_seconds < seconds["grace_period"]
    assert seconds["grace_period"] < int(vm()["services"]["caddy"]["stop_grace_period"].removesuffix("s"))
    # `_LINGER_SECONDS` of groundwork/fast/worker_protocol.py is 1.
    assert re.search(r"^\s*keepalive 500ms$", text, re.MULTILINE)
    assert "trusted_proxies" not in text


# Writes down each call, fails the one that the test names, and says that there are rows.
_DOCKER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *"$FAILS"*) exit 1 ;;
  *psql*) echo "$ROWS" ;;
esac
"""


def run(directory: Path, *command: str, fails: str = "nothing", rows: str = "") -> tuple[int, list[str], str]:
    """A script with a docker that does nothing; its exit code, the calls, and what it says."""
    host = directory / "vm"
    shutil.copytree(VM, host, ignore=shutil.ignore_patterns(".env", "service.env", "backups"))
    (host / ".env").write_text("VERSION=1\n")
    for name, text in {"docker": _DOCKER, "sleep": "#!/bin/sh\n"}.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    environment = {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "CALLS": str(directory / "calls"),
        "FAILS": fails,
        "ROWS": rows,
    }
    done = subprocess.run(
        [host / command[0], *command[1:]], env=environment, capture_output=True, text=True, check=False
    )
    calls = [line.removeprefix("compose ") for line in (directory / "calls").read_text().splitlines()]
    return done.returncode, calls, (done.stderr or done.stdout).strip()


def version(directory: Path) -> str:
    return (directory / "vm/.env").read_text().strip()


def test_the_migration_ends_once_before_the_new_version_begins(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2")
    assert code == 0
    pulled, migrated, started, switched, replaced, switched_back, removed = calls
    assert pulled.startswith("pull")
    assert migrated == "run --rm --no-deps migrate"
    assert started.startswith("up --detach --no-deps --wait")
    assert started.endswith(" next")
    assert switched.endswith("touch /data/next")
    assert replaced == started.removesuffix("next") + "backend"
    assert switched_back.endswith("rm -f /data/next")
    assert removed == "rm --stop --force next"
    assert said == "Version 2 serves."
    assert version(tmp_path) == "VERSION=2"


@pytest.mark.parametrize(
    ("fails", "last"),
    [
        ("pull", "pull --quiet --policy missing backend"),
        ("run --rm", "run --rm --no-deps migrate"),
        ("wait-timeout 120 next", "rm --stop --force next"),
    ],
)
def test_what_fails_before_the_switch_leaves_the_old_version_alone(tmp_path: Path, fails: str, last: str) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2", fails=fails)
    assert code == 1
    assert calls[-1] == last
    assert not [call for call in calls if call.endswith("--wait-timeout 120 backend") or "touch" in call]
    assert "the old version goes on serving" in said
    assert version(tmp_path) == "VERSION=1"


def test_a_backend_that_is_not_ready_leaves_the_requests_with_next(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2", fails="wait-timeout 120 backend")
    assert code == 1
    assert calls[-1].endswith(" backend")
    assert 'serves as the container "next"' in said
    assert version(tmp_path) == "VERSION=2"


def test_a_restore_stops_the_service_and_migrates_before_it_starts_again(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, "restore", "--replace", "some/folder/x.dump", rows="some")
    assert code == 0
    stopped, restored, migrated, started = calls[-5:-1]
    assert stopped == "stop backend next"
    assert restored.endswith("backup /scripts/restore /backups/x.dump")
    assert migrated == "run --rm --no-deps migrate"
    assert started.endswith(" backend")


def test_a_restore_refuses_to_overwrite_rows(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "x.dump", rows="some")
    assert code == 1
    assert "psql" in calls[-1]
    assert said.endswith("restore --replace x.dump")


def test_a_restore_that_fails_starts_the_service_again(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "x.dump", fails="/scripts/restore")
    assert code == 1
    assert calls[-1] == "start backend"
    assert "the service goes on with what it had" in said


def test_a_restore_that_cannot_look_changes_nothing(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, "restore", "x.dump", fails="psql")
    assert code == 1
    assert "psql" in calls[-1]
