"""deploy/vm/point-in-time.yaml: what it adds to compose.yaml. `tests/containers` tests that it works."""

import re

import pytest
import yaml

from groundwork.tests.deploy.targets import DEPLOY, Manifest, vm

OVERLAY: Manifest = yaml.safe_load((DEPLOY / "vm/point-in-time.yaml").read_text())
ADDED = tuple(name for name in OVERLAY["services"] if name not in vm()["services"])


@pytest.mark.parametrize("name", ADDED)
def test_a_container_may_do_nothing_that_it_need_not(name: str) -> None:
    service = OVERLAY["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["mem_limit"]
    assert "ports" not in service


def test_the_image_is_the_databases_own_and_pgbackrest() -> None:
    base = re.findall(r"^FROM (.+)$", (DEPLOY / "vm/point-in-time/Dockerfile").read_text(), re.MULTILINE)
    assert base == [vm()["services"]["db"]["image"]]


def test_the_database_keeps_its_settings_and_archives() -> None:
    command, own = (services["db"]["command"] for services in (OVERLAY["services"], vm()["services"]))
    assert command[: len(own)] == own
    assert "--archive_mode=on" in command


def test_the_drill_cannot_reach_the_running_database() -> None:
    drill = OVERLAY["services"]["drill"]
    assert drill["networks"] == ["out"]
    assert not any(str(volume).startswith("database:") for volume in drill["volumes"])


def test_the_backups_read_the_data_and_do_not_write_it() -> None:
    assert "database:/var/lib/postgresql/data:ro" in OVERLAY["services"]["point-in-time"]["volumes"]
