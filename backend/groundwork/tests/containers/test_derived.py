"""The images that targets of deploy/ build from the published one."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundwork.tests.containers.stack import docker
from groundwork.tests.deploy.clouds import CLOUDS
from groundwork.tests.deploy.targets import DEPLOY

NAME = "tasks-api-derived"


@pytest.fixture
def built(image: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The image of a target's Dockerfile, on top of the image of these tests."""
    folder, *target = request.param
    dockerfile = (DEPLOY / folder / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(re.sub(r"registry\.example\.com/\S+", image, dockerfile))
    (tmp_path / "global-bundle.pem").write_text("certificates\n")
    docker("build", "--quiet", *(f"--target={each}" for each in target), f"--tag={NAME}-{folder}", str(tmp_path))
    yield f"{NAME}-{folder}"
    docker("rmi", f"{NAME}-{folder}", check=False)


def inspected(image: str, what: str) -> str:
    return docker("inspect", "--format", f"{{{{json .Config.{what}}}}}", image)


@pytest.mark.parametrize("built", [("heroku", "web"), ("railway",), ("aws",)], indirect=True)
def test_it_serves_as_the_published_image_does(built: str, image: str) -> None:
    assert inspected(built, "Cmd") == inspected(image, "Cmd")
    assert inspected(built, "User") == inspected(image, "User")


@pytest.mark.parametrize("built", [("heroku", "release")], indirect=True)
def test_herokus_release_migrates(built: str) -> None:
    command = ["docker", "run", "--rm", "--network=none", "--env=DATABASE_URL=postgresql://u@127.0.0.1:1/d", built]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "alembic" in done.stderr
    assert "127.0.0.1" in done.stderr


@pytest.mark.parametrize("built", [("aws",)], indirect=True)
def test_the_certificates_of_rds_are_read_by_the_services_user(built: str) -> None:
    url = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/etc/ssl/rds.pem"
    script = "from groundwork.data.dsn import read_url; print(read_url('" + url + "').file('sslrootcert'))"
    assert docker("run", "--rm", "--network=none", built, "python", "-c", script).strip() == "/etc/ssl/rds.pem"


@pytest.mark.parametrize("built", [("railway",)], indirect=True)
def test_railways_image_has_the_settings(built: str) -> None:
    given = {name: value for name, value in CLOUDS["railway"]().environment.items() if value}
    assert given
    assert all(f'"{name}={value}"' in inspected(built, "Env") for name, value in given.items())
