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
    optional = {"HTTP_PORT", "HTTPS_PORT", "HSTS_SECONDS", "BACKUP_DIRECTORY", "BACKUP_HOUR", "BACKUP_KEEP_DAYS"}
    # ./restore sets the last of them.
    optional |= {"HEARTBEAT_URL", "DATABASE_VOLUME", "RESTORED_DATABASE"}
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text):
        assert rest.startswith(":-" if name in optional else ":?is not set. Put it into .env"), name
        assert name in (VM / "README.md").read_text() or name in ("HTTP_PORT", "HTTPS_PORT", "RESTORED_DATABASE")


def test_the_poolers_connections_fit_the_database() -> None:
    pooler = vm()["services"]["pgbouncer"]["environment"]
    assert pooler["POOL_MODE"] == "transaction"
    assert pooler["DEFAULT_POOL_SIZE"] + RESERVE <= DATABASE_CONNECTIONS
    # Two versions run at once, each with the largest number of workers.
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


# Records each call, fails the one that the test names, and imitates containers, rows and a disk.
_DOCKER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *"$FAILS"*) exit 1 ;;
  *"{{.Health}} next"*) echo "$NEXT" ;;
  *"{{.Health}} backend"*) echo "$BACKEND" ;;
  *"test -e /config/next"*) [ "$MARKED" ] ;;
  *"config --services"*) echo "$SERVICES" ;;
  *"ps --quiet worker"*) echo "$WORKER" ;;
  *"ps --all --quiet worker"*) echo "$WORKER"; if grep -q -e --scale "$CALLS"; then echo new; fi ;;
  *"{{.RestartCount}}"*) echo "$STATE" ;;
  *"restore check"*) echo 1000 ;;
  *" df "*) printf 'Avail\\n%s\\n' "${FREE:-9999999999}" ;;
  *psql*) echo "$ROWS" ;;
esac
"""


def run(directory: Path, *command: str, fails: str = "nothing", **state: str) -> tuple[int, list[str], str]:
    """Run a script with an imitated docker. Returns its exit code, the calls, and its output."""
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
        "BACKEND": "healthy",
        **{name.upper(): value for name, value in state.items()},
    }
    done = subprocess.run(
        [host / command[0], *command[1:]], env=environment, capture_output=True, text=True, check=False
    )
    calls = [line.removeprefix("compose ") for line in (directory / "calls").read_text().splitlines()]
    changes = [call for call in calls if not call.startswith(("ps ", "config ", "inspect "))]
    return done.returncode, changes, (done.stderr or done.stdout).strip()


def version(directory: Path) -> str:
    return (directory / "vm/.env").read_text().strip()


START = "up --detach --no-deps --wait --wait-timeout 120"
MARK, UNMARK = "exec --no-TTY caddy touch /config/next", "exec --no-TTY caddy rm -f /config/next"
PULL, MIGRATE = "pull --quiet --policy missing backend", "run --rm --no-deps migrate"


WORKER = "up --detach --no-deps --no-recreate --scale worker"
WORKS = {"services": "backend\nworker", "state": "running 0"}


def discard(name: str) -> list[str]:
    return [f"stop --timeout 2 {name}", f"rm --force {name}"]


def test_the_migration_ends_once_before_the_new_version_begins(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2")
    assert code == 0
    assert calls == [
        UNMARK, *discard("next"), PULL, MIGRATE, f"{START} next", MARK, f"{START} backend", UNMARK,
        "rm --stop --force next",
    ]  # fmt: skip
    assert said == "Version 2 serves."
    assert version(tmp_path) == "VERSION=2"


@pytest.mark.parametrize("state", [{"marked": "yes"}, {"backend": ""}, {"backend": "unhealthy"}])
def test_next_keeps_its_requests_when_a_roll_out_was_interrupted(tmp_path: Path, state: dict[str, str]) -> None:
    """`backend` gets no requests, so it is the one to be replaced, by any version and so also by an older one."""
    code, calls, said = run(tmp_path, "roll-out", "0", next="healthy", **state)
    assert code == 0
    assert [call for call in calls if "test -e" not in call] == [
        MARK, PULL, MIGRATE, *discard("backend"), f"{START} backend", UNMARK, "rm --stop --force next",
    ]  # fmt: skip
    assert said == "Version 0 serves."
    assert version(tmp_path) == "VERSION=0"


def test_next_without_requests_is_removed_before_its_version_changes(tmp_path: Path) -> None:
    _, calls, _ = run(tmp_path, "roll-out", "2", next="healthy")
    assert calls[:4] == ["exec --no-TTY caddy test -e /config/next", UNMARK, *discard("next")]


@pytest.mark.parametrize(("command", "argument"), [("roll-out", "2"), ("restore", "x.dump")])
def test_caddy_that_does_not_run_is_said(tmp_path: Path, command: str, argument: str) -> None:
    code, _, said = run(tmp_path, command, argument, fails="exec --no-TTY caddy")
    assert code == 1
    assert "docker compose up --detach --wait" in said


@pytest.mark.parametrize(
    ("fails", "last"),
    [
        ("pull", PULL),
        ("run --rm", MIGRATE),
        ("wait-timeout 120 next", "rm --force next"),
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
    assert calls[-1] == "logs --tail 20 backend"
    assert not [call for call in calls[calls.index(MARK) :] if call == UNMARK or "next" in call.split()[1:]]
    assert 'serves as the container "next"' in said
    assert version(tmp_path) == "VERSION=2"


@pytest.mark.parametrize("workers", ["", "old", "old\nolder"])
def test_the_worker_is_replaced_last_and_the_old_one_ends_when_the_new_one_has_stayed_up(
    tmp_path: Path, workers: str
) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2", worker=workers, **WORKS)
    assert (code, said) == (0, "Version 2 serves.")
    served = calls.index("rm --stop --force next")
    ended = [f"{do} {' '.join(workers.split())}" for do in ("stop", "rm")] if workers else []
    assert calls[served + 1 :] == [f"{WORKER}={len(workers.split()) + 1} worker", *ended]


def test_an_interrupted_roll_out_replaces_the_worker_when_it_is_run_again(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, "roll-out", "2", next="healthy", marked="yes", worker="old", **WORKS)
    assert code == 0
    assert calls[-4:] == ["rm --stop --force next", f"{WORKER}=2 worker", "stop old", "rm old"]


@pytest.mark.parametrize("state", ["running 1", "restarting 3", "exited 0", ""])
def test_a_worker_that_does_not_stay_up_leaves_the_old_one(tmp_path: Path, state: str) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2", worker="old", **{**WORKS, "state": state})
    assert code == 1
    assert calls[-3:] == [f"{WORKER}=2 worker", "logs --tail 20 new", "rm --force new"]
    assert "the worker is still the old one" in said
    assert version(tmp_path) == "VERSION=2"


@pytest.mark.parametrize(
    "fails", ["pull", "run --rm", "wait-timeout 120 next", "wait-timeout 120 backend", "touch /config/next"]
)
def test_what_fails_before_leaves_the_old_worker(tmp_path: Path, fails: str) -> None:
    code, calls, _ = run(tmp_path, "roll-out", "2", fails=fails, worker="old", **WORKS)
    assert code == 1
    assert not [call for call in calls if "worker" in call or "old" in call]


def test_a_roll_out_starts_no_worker_where_it_is_not_switched_on(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, "roll-out", "2", services="backend\nheartbeat")
    assert code == 0
    assert not [call for call in calls if "worker" in call]


def test_settings_that_cannot_be_read_are_said_before_anything_changes(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "roll-out", "2", fails="config --services")
    assert (code, calls) == (1, [])
    assert said.endswith("mend what is said above.")


PART = "run --rm --no-TTY --no-deps --entrypoint bash backup /scripts/restore"
BESIDE = ("restore check", "df --output=avail", "restore load", MIGRATE)


def test_a_restore_stops_the_service_only_to_change_over(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "--replace", "some/folder/x.dump", rows="some", worker="some")
    assert code == 0
    checked, _, _, loaded, migrated, stopped, swapped, started, unmarked, removed = calls
    assert checked == f"{PART} check /backups/x.dump"
    assert loaded.startswith(f"{PART} load /backups/x.dump app_restored_")
    assert migrated == MIGRATE
    assert stopped == "stop backend next worker"
    assert swapped == f"{PART} swap {loaded.split()[-1]}"
    assert started == "up --detach --no-deps --wait backend worker"
    assert (unmarked, removed) == (UNMARK, "rm --stop --force next")
    assert "x.dump is in place" in said


def test_a_restore_refuses_to_overwrite_rows(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "x.dump", rows="some")
    assert code == 1
    assert "psql" in calls[-1]
    assert said.endswith("restore --replace x.dump")


@pytest.mark.parametrize("fails", BESIDE)
def test_what_fails_beside_does_not_stop_the_service(tmp_path: Path, fails: str) -> None:
    code, calls, said = run(tmp_path, "restore", "--replace", "x.dump", fails=fails)
    assert code == 1
    assert not [call for call in calls if call.startswith("stop") or "swap" in call]
    assert "nothing was changed, and the service goes on" in said


def test_a_restore_that_would_fill_the_databases_disk_is_refused(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "--replace", "x.dump", free=str(1 << 30))
    assert code == 1
    assert "df" in calls[-1]
    assert "has 1.0G left" in said


def test_a_restore_that_is_not_swapped_starts_the_service_again(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "x.dump", fails="restore swap")
    assert code == 1
    assert calls[-1] == "up --detach --no-deps --wait backend"
    assert "the service goes on with what it had" in said


def test_a_restore_that_cannot_look_changes_nothing(tmp_path: Path) -> None:
    code, calls, said = run(tmp_path, "restore", "x.dump", fails="psql")
    assert code == 1
    assert "psql" in calls[-1]
    assert "does not answer" in said
