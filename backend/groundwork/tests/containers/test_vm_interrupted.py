"""A roll-out and a restore of deploy/vm that are killed at one of their steps, as when their session is lost."""

import os
import shutil
import uuid
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from groundwork.tests.containers.host import URL, Host
from groundwork.tests.containers.stack import wait_until

# Kills the script with its process group, at the call that contains AT: before the call, or when the engine reports
# EVENT for a container of SERVICE. The engine still finishes what it was asked for.
_DOCKER = r"""#!/usr/bin/env bash
[[ "$*" != *migrate* ]] || touch "$MIGRATED"
if [[ "$*" == *"$AT"* && ( -e $MIGRATED || ! $ONCE_MIGRATED ) ]]; then
  [[ $EVENT ]] || kill -KILL 0
  label=label=com.docker.compose
  exec 3< <("$REAL" events --filter "event=$EVENT" --filter "$label.project=$COMPOSE_PROJECT_NAME" \
    --filter "$label.service=$SERVICE")
  "$REAL" "$@" &
  read -r -t 60 _ <&3
  kill -KILL 0
fi
exec "$REAL" "$@"
"""


class Moment(NamedTuple):
    call: str
    event: str = ""
    service: str = ""
    once_migrated: bool = True


def kill(host: Host, directory: Path, moment: Moment, *command: str) -> None:
    shim = directory / "docker"
    shim.write_text(_DOCKER)
    shim.chmod(0o755)
    variables = {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "REAL": str(shutil.which("docker")),
        "AT": moment.call,
        "EVENT": moment.event,
        "SERVICE": moment.service,
        "MIGRATED": str(directory / "migrated"),
        "ONCE_MIGRATED": "yes" if moment.once_migrated else "",
    }
    settings = [f"{name}={value}" for name, value in variables.items()]
    done = host.run("setsid", "--wait", "env", *settings, *command, check=False)
    assert done.returncode in (-9, 128 + 9), done.stderr


def named(host: Host) -> str:
    """The version that .env names."""
    [line] = [line for line in (host.folder / ".env").read_text().splitlines() if line.startswith("VERSION=")]
    return line.removeprefix("VERSION=")


def serving(host: Host) -> str:
    """The version of the container that has answered a request."""
    identifier = uuid.uuid4().hex
    headers = {"X-Request-ID": identifier}
    httpx.get(f"{URL}/api/alice/tasks", headers=headers, verify=host.tls, timeout=30).raise_for_status()
    found: list[str] = []

    def logged() -> bool:
        logs = {
            name: host.compose("--profile", "*", "logs", "--tail", "100", name).stdout for name in ("backend", "next")
        }
        found.extend(name for name, log in logs.items() if identifier in log)
        return bool(found)

    wait_until(logged, "the request is in the log of a container")
    return str(host.inspect(found[0])["Config"]["Image"]).rpartition(":")[2]


def other(version: str) -> str:
    return "1" if version == "2" else "2"


@pytest.mark.parametrize(
    ("moment", "afterwards"),
    [
        (Moment("run --rm --no-deps migrate", "start", "migrate"), ["up"]),
        (Moment("120 next", "start", "next"), ["again"]),
        # .env names the new version, which gets no requests yet.
        (Moment("touch /config/next"), ["up"]),
        # The old container runs, and the new one has been made.
        (Moment("120 backend", "create", "backend"), ["again"]),
        # `backend` is gone. Then Caddy restarts and does not know of `next`; or `next` ends, which got the requests.
        (Moment("120 backend", "die", "backend"), ["restart caddy", "down", "up"]),
    ],
    ids=lambda value: " ".join(str(part) for part in value[:2]),
)  # fmt: skip
def test_a_roll_out_that_was_killed(host: Host, tmp_path: Path, moment: Moment, afterwards: list[str]) -> None:
    version = other(named(host))
    kill(host, tmp_path, moment, "./roll-out", version)
    assert host.is_ready()
    for step in afterwards:
        match step:
            case "again":
                host.roll_out(version)
                assert named(host) == version
                assert not host.compose("ps", "--all", "--quiet", "next").stdout
            case "up":
                host.up()
            case _:
                host.compose(*step.split())
        if step != "down":
            wait_until(host.is_ready, "Caddy serves")
            assert serving(host) == named(host)


@pytest.fixture(scope="module")
def dump(host: Host) -> str:
    host.up()
    host.compose("exec", "--no-TTY", "backup", "bash", "/scripts/backup", "now")
    return host.dumps()[-1].name


def test_a_restore_that_was_killed(host: Host, tmp_path: Path, dump: str) -> None:
    before = host.rows()
    restore = ("./restore", "--replace", dump)
    kill(host, tmp_path, Moment("/scripts/restore load", "start", "backup", once_migrated=False), *restore)
    assert serving(host) == named(host)
    assert host.rows() == before
    for moment in (
        # An interrupted roll-out has left `next`, which may be the first to stop.
        Moment("stop backend", "die", "backend"),
        # The engine goes on with it, at the same time as `up`.
        Moment("/scripts/restore swap", "start", "backup"),
    ):
        kill(host, tmp_path, moment, *restore)
        host.up()
        assert host.rows() == before
        assert serving(host) == named(host)
    host.restore("--replace", dump)
    assert host.rows() == before
    assert host.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'app_restored%'") == "0"
    assert serving(host) == named(host)


def test_a_disk_without_room_gets_no_part_of_a_dump(host: Host) -> None:
    """BACKUP_DIRECTORY is the container's /dev/shm, a file system of 64 MiB."""
    host.sql("CREATE TABLE filler AS SELECT md5(random()::text) FROM generate_series(1, 200000)")

    def inside(command: str) -> str:
        done = host.compose("exec", "--no-TTY", "backup", "bash", "-c", f"cd /dev/shm; {command}", check=False)
        return done.stdout + done.stderr

    now = "BACKUP_DIRECTORY=/dev/shm bash /scripts/backup now"
    # A tenth of the file system, 6.4 MiB, must stay free.
    assert "BACKUP_DIRECTORY has room for 1" in inside(f"head -c 56M /dev/zero > full; {now}")
    # The last dump was small, so this one begins. It would be larger than the 2 MiB that are left.
    inside("head -c 56M /dev/zero > full; echo > tasks-api-2026-01-01T030000Z.dump")
    assert "the dump grew over the 1" in inside(now)
    assert set(inside("ls -A").split()) == {"full", "tasks-api-2026-01-01T030000Z.dump"}
    inside("rm -f full tasks-api-2026-01-01T030000Z.dump")
    assert " bytes" in inside(now)
    inside("rm -f *.dump")
    host.sql("DROP TABLE filler")
