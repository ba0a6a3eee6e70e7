"""The library as a package. A service whose repository has no folder `groundwork` runs with it."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from groundwork import __version__
from groundwork.testing import postgres
from groundwork.tests.process import server
from groundwork.tests.template.conftest import ROOT, Repository, clone

UV = str(Path(sys.executable).with_name("uv"))


def run(*command: str, folder: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", str(built), str(template.folder / "backend/groundwork"))
    assert not template.git("status", "--porcelain", "--ignored"), "the build leaves nothing beside the sources"
    return built / f"groundwork-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_what_git_holds_except_the_tests(template: Repository, wheel: Path) -> None:
    left_out = {"pyproject.toml", ".gitignore"}
    folder = "backend/groundwork/"
    files = {path.removeprefix(folder) for path in template.files() if path.startswith(folder)}
    expected = {path for path in files if not path.startswith("tests/")} - left_out
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("groundwork-")}
    assert names == {f"groundwork/{path}" for path in expected}
    assert "groundwork/py.typed" in names


@dataclass(frozen=True)
class Copy:
    """A repository without the folder, and an environment in it that has the package."""

    folder: Path

    @property
    def backend(self) -> Path:
        return self.folder / "backend"

    @property
    def python(self) -> str:
        return str(self.folder / ".venv/bin/python")

    def run(self, *arguments: str) -> str:
        return run(self.python, *arguments, folder=self.backend, env=server.environment())

    @contextmanager
    def started(self, *command: str, log: Path, **variables: str) -> Iterator[server.Server]:
        port = server.free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.backend,
                env=server.environment(PORT=str(port), **variables),
                stdout=output,
                stderr=output,
            )
        started = server.Server(process, port, log)
        try:
            # `make run` first sets up a PostgreSQL, and Python has to compile all modules.
            started.wait_until_live(seconds=120)
            yield started
        finally:
            if process.poll() is None:
                started.stop()


@pytest.fixture(scope="module")
def copy(template: Repository, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = clone(template.folder, tmp_path_factory.mktemp("without") / "copy").folder
    shutil.rmtree(folder / "backend/groundwork")
    copy = Copy(folder)
    run(UV, "venv", "--quiet", "--python", sys.executable, str(folder / ".venv"))
    install = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", copy.python]
    run(*install, "--require-hashes", "--requirement", str(folder / "backend/requirements.txt"))
    run(*install, "--no-deps", str(wheel))
    return copy


def task(url: str) -> httpx.Response:
    return httpx.post(f"{url}/api/alice/tasks", json={"title": "Buy milk"})


def test_a_service_without_the_folder_serves(copy: Copy, postgres_server: postgres.Server, tmp_path: Path) -> None:
    postgres_server.create_database("on_the_wheel")
    (copy.folder / ".env").write_text(f"DATABASE_URL={postgres_server.url('on_the_wheel')}\nWEB_CONCURRENCY=1\n")

    assert "site-packages" in copy.run("-c", "import groundwork; print(groundwork.__file__)")
    assert "Running upgrade" in copy.run("-m", "alembic", "upgrade", "head")
    with copy.started(copy.python, "serve.py", log=tmp_path / "log") as service:
        assert httpx.get(f"{service.url}/health/ready").json() == {"status": "ok"}
        created = task(service.url)
        assert created.status_code == httpx.codes.CREATED
        assert httpx.get(service.url + created.headers["location"]).json()["title"] == "Buy milk"
        page = httpx.get(f"{service.url}/docs")
        assert page.is_success
        assert "/docs/files/swagger-ui.css" in page.text
        assert httpx.get(f"{service.url}/docs/files/swagger-ui.css").is_success
        check = subprocess.run(
            [copy.python, "healthcheck.py", "ready"],
            cwd=copy.backend,
            env=server.environment(PORT=str(service.port)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (check.returncode, check.stdout) == (0, '200 {"status":"ok"}\n')
        assert "expired idempotency keys removed" in copy.run("expire.py")
        assert service.stop() == 0
    (copy.folder / ".env").unlink()


def test_make_run_and_the_plugin_of_tests_work_there_too(copy: Copy, wheel: Path, tmp_path: Path) -> None:
    locked = copy.backend / "requirements-dev.txt"
    constraints = tmp_path / "constraints.txt"
    # The list has versions without hashes, because a list with hashes would have to contain the wheel too.
    constraints.write_text(
        run(UV, "pip", "compile", "--quiet", "--no-header", "--no-deps", "--no-annotate", str(locked))
    )
    install = [UV, "pip", "install", "--quiet", "--python", copy.python, "--constraint", str(constraints)]
    run(*install, f"groundwork[dev,testing] @ {wheel.as_uri()}")
    # The environment is newer than the list that it was installed from, as after `make .venv`.
    shutil.copy(locked, copy.folder / ".venv")
    os.utime(locked, (0, 0))
    with copy.started("make", "--directory", str(copy.folder), "run", log=tmp_path / "log") as service:
        assert task(service.url).status_code == httpx.codes.CREATED
        assert (copy.folder / ".data/postgres").is_dir()
    copy.run("-m", "groundwork.dev.private_names")
    passed = run(copy.python, "-m", "pytest", "-q", "tests/test_openapi_document.py", folder=copy.backend)
    assert " passed" in passed.splitlines()[-1]
