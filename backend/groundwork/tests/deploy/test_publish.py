"""`image.sh publish`: each image with a name in the registry was tested and signed, wherever the script is ended.

The commands that the script calls are imitated, and a folder stands for the registry. By hand, it was also run against
a real registry.
"""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from groundwork.tests.deploy.targets import ROOT

NAME = "registry.example.com/acme/orders"
TESTED = "an index"
DIGEST = f"sha256:{hashlib.sha256(TESTED.encode()).hexdigest()}"
# A file is an image, and its path the name. The call FAIL_AT fails.
COMMAND = """#!/usr/bin/env bash
set -euo pipefail
store=${0%/*}/store
echo "${0##*/} $*" >> "$store/log"
mapfile -t calls < "$store/log"
(( ${#calls[@]} != FAIL_AT ))
path() { local name=${1#*:}; echo "$store/${name//\\//_}"; }
case "${0##*/} $1" in
  "skopeo inspect") cat "$(path "${@: -1}")" ;;
  "skopeo copy") cp "$(path "${@: -2:1}")" "$(path "${@: -1}")" ;;
  "skopeo list-tags") cat "$store/tags" ;;
esac
"""


class Registry:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "store").mkdir()
        (folder / "store/image.tar").write_text(TESTED)
        for name in ("skopeo", "cosign"):
            (folder / name).write_text(COMMAND)
            (folder / name).chmod(0o755)

    def image(self, *arguments: str, fail_at: int = 0) -> subprocess.CompletedProcess[str]:
        (self.folder / "store/log").write_text("")
        environment = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", "FAIL_AT": str(fail_at)}
        command = [str(ROOT / "backend/groundwork/dev/image.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def publish(self, digest: str = DIGEST, fail_at: int = 0) -> subprocess.CompletedProcess[str]:
        return self.image("publish", "image.tar", digest, f"{NAME}:0.1.0", fail_at=fail_at)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "store/log").read_text().splitlines()

    @property
    def named(self) -> Path:
        return self.folder / "store" / f"//{NAME}:0.1.0".replace("/", "_")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_it_is_pushed_by_digest_then_signed_then_named(registry: Registry) -> None:
    done = registry.publish()
    assert done.stdout == f"Published {NAME}:0.1.0, which is {DIGEST}.\n", done
    changes = [call for call in registry.calls if "inspect" not in call]
    copy = "skopeo copy --all --preserve-digests"
    assert changes == [
        f"{copy} oci-archive:image.tar docker://{NAME}@{DIGEST}",
        f"cosign sign --yes {NAME}@{DIGEST}",
        f"{copy} docker://{NAME}@{DIGEST} docker://{NAME}:0.1.0",
    ]


def test_nothing_unsigned_has_a_name_and_every_failure_can_be_repeated(tmp_path: Path) -> None:
    whole = Registry(tmp_path)
    whole.publish()
    for step in range(1, len(whole.calls) + 1):
        (tmp_path / str(step)).mkdir()
        registry = Registry(tmp_path / str(step))
        ended = registry.publish(fail_at=step)
        signed = any(call.startswith("cosign") for call in registry.calls[: step - 1])
        # The second call asks whether the name is taken. A failure of this call means that it is free.
        assert (ended.returncode != 0) == (step != 2), ended
        assert signed or step == 2 or not registry.named.exists()
        assert registry.publish().returncode == 0
        assert registry.named.read_text() == TESTED


def test_a_name_is_never_given_twice(registry: Registry) -> None:
    registry.named.write_text("another index")
    assert "is published already" in registry.publish().stderr
    assert registry.named.read_text() == "another index"
    assert not [call for call in registry.calls if "copy" in call or "cosign" in call]


def test_what_was_not_tested_is_not_pushed(registry: Registry) -> None:
    assert "is not sha256:other, which was tested" in registry.publish("sha256:other").stderr
    assert not [call for call in registry.calls if "copy" in call]


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        (["0.1.0"], "0.1.0"),
        (
            ["0.1.0", "0.1.0-20261123", "0.1.0-20261130", "0.1.0-rc.1", "0.1.00", "0.2.0", "0x1.0-20270101"],
            "0.1.0-20261130",
        ),
    ],
)
def test_the_newest_build_of_a_version(registry: Registry, tags: list[str], newest: str) -> None:
    listed = ", ".join(f'"{tag}"' for tag in tags)
    (registry.folder / "store/tags").write_text(f'{{"Tags": [{listed}]}}')
    assert registry.image("newest", NAME, "0.1.0").stdout == f"{newest}\n"


def test_a_version_that_is_not_published_says_so(registry: Registry) -> None:
    (registry.folder / "store/tags").write_text('{"Tags": ["0.2.0"]}')
    done = registry.image("newest", NAME, "0.1.0")
    assert done.returncode == 1
    assert f"{NAME} has no 0.1.0" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["try"], ["publish", "image.tar"], ["destroy", "a"]])
def test_other_arguments_are_answered_with_the_usage(registry: Registry, arguments: list[str]) -> None:
    done = registry.image(*arguments)
    assert done.returncode == 2
    assert "image.sh publish FILE DIGEST NAME:TAG" in done.stderr
