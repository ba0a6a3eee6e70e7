"""Rules for every target that no schema can check."""

import re

import pytest

from groundwork.serve.settings import Settings
from groundwork.tests.deploy.clouds import CLOUDS
from groundwork.tests.deploy.targets import DEPLOY, MIGRATE, TARGETS, Target, dockerfile, image_command

# PostgreSQL's default of 100, without the 3 that it reserves. Neon's smallest compute allows the same number.
DATABASE_CONNECTIONS = 97
# These are measured values with a reserve: see loadtests/README.md.
FIRST_WORKER_MIB, FURTHER_WORKER_MIB = 85, 19
# Under load, pools and request bodies need memory too.
ROOM = 2


ALL = TARGETS | CLOUDS


@pytest.fixture(params=ALL)
def target(request: pytest.FixtureRequest) -> Target:
    return ALL[request.param]()


def test_every_variable_is_a_setting(target: Target) -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert target.environment.keys() | target.migration_environment.keys() <= known


def test_the_values_are_accepted(target: Target) -> None:
    url = "postgresql://user:password@host/database"
    values = {name.lower(): value or url for name, value in target.environment.items()}
    Settings.model_validate(values)


def test_every_url_is_a_secret(target: Target) -> None:
    given = target.environment | target.migration_environment
    assert {name: value for name, value in given.items() if "URL" in name} == dict.fromkeys(
        [name for name in given if "URL" in name]
    )
    assert "DATABASE_URL" in target.environment
    assert "DATABASE_URL" in target.migration_environment


def test_the_command_and_the_port_are_the_images(target: Target) -> None:
    assert target.command in (None, image_command())
    assert target.port == target.setting("port") == int(dockerfile()["EXPOSE"])


def test_the_migration_is_the_images(target: Target) -> None:
    assert target.migration == MIGRATE
    assert " ".join(MIGRATE) in (DEPLOY.parent / "backend/Dockerfile").read_text()


def test_probes(target: Target) -> None:
    assert target.traffic_probe in ("/health/ready", "/health/live")
    # A probe that leads to a restart must not ask the database.
    assert target.restart_probe in (None, "/health/live")


def test_requests_in_flight_have_the_time_that_they_are_promised(target: Target) -> None:
    assert target.pause_seconds + target.setting("graceful_shutdown_seconds") < target.grace_seconds


def test_all_instances_together_fit_the_database(target: Target) -> None:
    assert target.connections <= DATABASE_CONNECTIONS


def test_the_memory_is_enough_for_the_workers(target: Target) -> None:
    measured = FIRST_WORKER_MIB + (target.setting("web_concurrency") - 1) * FURTHER_WORKER_MIB
    assert measured * ROOM <= target.memory_mib


def test_no_file_holds_a_secret() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert not re.search(r"postgres(ql)?://[^\s/]*:[^\s/]*@", path.read_text()), path
