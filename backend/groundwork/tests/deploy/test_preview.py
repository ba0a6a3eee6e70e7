"""`deploy/preview/preview` with imitated commands of Neon and Fly. Nobody has run it against the real ones yet."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from groundwork.serve.settings import Settings
from groundwork.tests.deploy.targets import DEPLOY, MIGRATE, dockerfile

NAME = "orders-pr-12"
DIRECT = "postgresql://owner:x@direct.example.com/app"
POOLED = "postgresql://owner:x@pooled.example.com/app"
# Prints lists as the two commands do, and keeps what is made and removed in files. The call number FAIL_AT fails.
COMMAND = f"""#!/usr/bin/env bash
set -euo pipefail
cd "${{0%/*}}/store"
echo "${{0##*/}} $*" >> log
mapfile -t calls < log
(( ${{#calls[@]}} != FAIL_AT ))
list() {{
  local each listed=()
  for each in "$1"/*; do listed+=("{{\\"$2\\": \\"${{each#*/}}\\"}}"); done
  local IFS=,
  echo "[${{listed[*]}}]"
}}
case "${{0##*/}} $*" in
  *" branches list "*) list branches name ;;
  *" branches create "*) touch "branches/{NAME}" ;;
  *" branches delete {NAME}") rm "branches/{NAME}" ;;
  *" connection-string {NAME} --pooled") echo {POOLED} ;;
  *" connection-string {NAME}") echo {DIRECT} ;;
  "fly apps list --json") list apps Name ;;
  "fly apps create "*) touch "apps/$3" ;;
  "fly apps destroy {NAME} --yes") rm "apps/{NAME}" ;;
  "fly secrets import "*) cat > secrets ;;
  "fly deploy "*) [[ -e apps/{NAME} && -e secrets && -e $OLDPWD/Dockerfile ]] ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"""
SETTINGS = {
    "NEON_API_KEY": "k",
    "NEON_PROJECT_ID": "project",
    "NEON_PARENT": "previews",
    "FLY_API_TOKEN": "t",
    "FLY_APP": "orders",
    "FLY_ORG": "acme",
}


class Clouds:
    """Imitations of Neon and Fly, on which another preview runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for kind in ("branches", "apps"):
            (folder / "store" / kind).mkdir(parents=True)
            (folder / "store" / kind / "orders-pr-1").touch()
        for name in ("npx", "fly"):
            (folder / name).write_text(COMMAND)
            (folder / name).chmod(0o755)

    def preview(self, *arguments: str, fail_at: int = 0) -> subprocess.CompletedProcess[str]:
        (self.folder / "store/log").write_text("")
        path = f"{self.folder}:{os.environ['PATH']}"
        environment = os.environ | SETTINGS | {"PATH": path, "FAIL_AT": str(fail_at)}
        command = [str(DEPLOY / "preview/preview"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "store/log").read_text().splitlines()

    @property
    def there(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder / "store")) for path in (self.folder / "store").glob("*/*"))


OTHERS = ["apps/orders-pr-1", "branches/orders-pr-1"]
ALL = sorted([*OTHERS, f"apps/{NAME}", f"branches/{NAME}"])


@pytest.fixture
def clouds(tmp_path: Path) -> Clouds:
    return Clouds(tmp_path)


def test_it_is_made_updated_and_removed(clouds: Clouds) -> None:
    for _ in range(2):
        done = clouds.preview("up", "12")
        # The output is one line, which becomes the comment.
        assert done.stdout == f"The preview of this pull request: https://{NAME}.fly.dev\n", done
        assert clouds.there == ALL
        assert clouds.calls[-1].startswith(f"fly deploy . --app {NAME} ")
        assert (clouds.folder / "store/secrets").read_text() == f"DATABASE_URL={POOLED}\nDATABASE_DIRECT_URL={DIRECT}\n"
        assert not [call for call in clouds.calls if "postgresql://" in call]
        assert "postgresql://" not in done.stdout + done.stderr
    for _ in range(2):
        assert clouds.preview("down", "12").stdout == f"The preview {NAME} is gone.\n"
        assert clouds.there == OTHERS


def test_the_branch_starts_from_the_one_that_is_named_and_ends_by_itself(clouds: Clouds) -> None:
    clouds.preview("up", "12")
    (made,) = [call for call in clouds.calls if "branches create" in call]
    assert "--parent previews " in made
    assert " --expires-at 20" in made


def test_each_failure_is_one_and_the_next_run_ends_it(tmp_path: Path) -> None:
    whole = Clouds(tmp_path / "whole")
    for command, result in (("up", ALL), ("down", OTHERS)):
        whole.preview(command, "12")
        for step in range(1, len(whole.calls) + 1):
            clouds = Clouds(tmp_path / f"{command}-{step}")
            if command == "down":
                clouds.preview("up", "12")
            ended = clouds.preview(command, "12", fail_at=step)
            assert ended.returncode != 0, (command, step)
            assert ended.stdout == ""
            if command == "down":
                # The other one is still removed.
                assert len(clouds.there) == len(OTHERS) + 1
            assert clouds.preview(command, "12").returncode == 0
            assert clouds.there == result


@pytest.mark.parametrize("name", SETTINGS)
def test_a_missing_setting_is_named_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, clouds: Clouds, name: str
) -> None:
    monkeypatch.setitem(SETTINGS, name, "")
    done = clouds.preview("up", "12")
    assert done.returncode != 0
    assert f"{name}: is not set" in done.stderr
    assert clouds.calls == []


@pytest.mark.parametrize("arguments", [[], ["up"], ["up", "x"], ["up", "1;id"], ["destroy", "1"]])
def test_other_arguments_are_refused(clouds: Clouds, arguments: list[str]) -> None:
    done = clouds.preview(*arguments)
    assert done.returncode != 0
    assert "preview up NUMBER" in done.stderr


def test_its_app_is_what_the_image_and_the_service_expect() -> None:
    app = tomllib.loads((DEPLOY / "preview/fly.toml").read_text())
    assert app["deploy"]["release_command"].split() == MIGRATE
    assert app["http_service"]["internal_port"] == int(dockerfile()["EXPOSE"])
    url = "postgresql://user:password@host/database"
    settings = Settings.model_validate(
        {"database_url": url, **{name.lower(): value for name, value in app["env"].items()}}
    )
    # An idle preview does not ask the database anything, so both can sleep.
    assert settings.database_open_at_start == 0
    (check,) = app["http_service"]["checks"]
    assert check["path"] == "/health/live"
    assert app["http_service"]["min_machines_running"] == 0
    assert settings.graceful_shutdown_seconds < app["kill_timeout"]
