"""`make verify`: whether a tag may be released, and whether an image is that release."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from groundwork.dev.image import Archive, Published
from groundwork.dev.release import require_image
from groundwork.dev.repository import TemplateError

BACKEND = Path(__file__).parents[3]
REVISION = "a" * 40
PLATFORMS = ["linux/amd64", "linux/arm64"]
PREDICATES = ["https://spdx.dev/Document", "https://slsa.dev/provenance/v0.2"]
CHANGES = """\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-11-28

- New.
- Also new.

## [0.1.0] - 2026-10-01

- Old.
"""


class Repository:
    """A repository with the two files that a release is checked against, and a tag."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "backend").mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        self.git("tag", "v0.2.0")

    def commit(self, version: str = "0.2.0", changes: str = CHANGES) -> None:
        (self.folder / "backend/pyproject.toml").write_text(f'[project]\nname = "backend"\nversion = "{version}"\n')
        (self.folder / "CHANGELOG.md").write_text(changes)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def release(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "groundwork.dev.release", *arguments],
            cwd=self.folder / "backend",
            env={**os.environ, "PYTHONPATH": str(BACKEND), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def refused(self, *arguments: str, **environment: str) -> str:
        """The sentence that says why the tag is refused. There must be no traceback."""
        done = self.release("verify", *arguments, **environment)
        assert done.returncode == os.EX_USAGE, done
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Image:
    """The documents of an image of two platforms, by digest."""

    def __init__(self, revision: str, version: str = "0.2.0") -> None:
        self.blobs: dict[str, bytes] = {}
        self.labels = {"version": version, "revision": revision, "source": "https://github.com/acme/orders"}
        self.platforms = list(PLATFORMS)
        self.predicates = list(PREDICATES)

    def add(self, document: Any) -> str:
        content = json.dumps(document).encode()
        self.blobs[digest_of(content)] = content
        return digest_of(content)

    def configuration(self) -> dict[str, Any]:
        return {"config": {"Labels": {f"org.opencontainers.image.{name}": text for name, text in self.labels.items()}}}

    def build(self) -> str:
        """The digest of the index."""
        entries = []
        for platform in self.platforms:
            system, architecture = platform.split("/")
            configuration = {**self.configuration(), "architecture": architecture}
            digest = self.add({"config": {"digest": self.add(configuration)}, "layers": []})
            layers = [{"annotations": {"in-toto.io/predicate-type": each}} for each in self.predicates]
            attached = self.add({"config": {"digest": self.add({})}, "layers": layers, "of": platform})
            entries.append({"digest": digest, "platform": {"os": system, "architecture": architecture}})
            entries.append(
                {
                    "digest": attached,
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {"vnd.docker.reference.digest": digest},
                }
            )
        return self.add({"manifests": entries})

    def archive(self, folder: Path, damaged: str = "") -> str:
        """An OCI archive of the image. The blob `damaged` has one character too many."""
        root = self.build()
        files = {"index.json": json.dumps({"manifests": [{"digest": root}]}).encode()}
        for digest, content in self.blobs.items():
            files[f"blobs/{digest.replace(':', '/')}"] = content + b" " * (digest == damaged)
        with tarfile.open(folder / "image.tar", "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
        return str(folder / "image.tar")

    def publish(self, folder: Path) -> str:
        """A PATH with a docker whose `buildx imagetools inspect` knows the image."""
        root = self.build()
        known = {f"registry.example.com/acme/orders@{digest}": blob.decode() for digest, blob in self.blobs.items()}
        known["registry.example.com/acme/orders:0.2.0"] = self.blobs[root].decode()
        (folder / "known.json").write_text(json.dumps(known))
        (folder / "images.json").write_text(json.dumps(dict.fromkeys(self.platforms, self.configuration())))
        (folder / "docker").write_text(f"#!{sys.executable}\n{DOCKER}")
        (folder / "docker").chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"


# Answers as Buildx 0.13 does with a registry.
DOCKER = """
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
known = json.loads((folder / "known.json").read_text())
assert sys.argv[1:4] == ["buildx", "imagetools", "inspect"]
if sys.argv[-1] not in known:
    sys.exit(f"ERROR: {sys.argv[-1]}: not found")
print((folder / "images.json").read_text() if "--format" in sys.argv else known[sys.argv[-1]], end="")
"""


@pytest.fixture
def image(repository: Repository) -> Image:
    return Image(repository.git("rev-parse", "v0.2.0"))


def test_a_tag_that_fits_is_released_with_its_notes(repository: Repository) -> None:
    assert "v0.2.0 lies on main" in repository.release("verify", "v0.2.0").stdout
    assert repository.release("notes", "v0.2.0").stdout == "- New.\n- Also new.\n"


def test_the_notes_need_nothing_but_the_tag(repository: Repository, tmp_path: Path) -> None:
    """The job that writes the release has fetched no branch."""
    folder = tmp_path / "shallow"
    origin = f"file://{repository.folder}"
    repository.git("clone", "--quiet", "--depth", "1", "--branch", "v0.2.0", origin, str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev.release", "notes", "v0.2.0"],
        cwd=folder / "backend",
        env={**os.environ, "PYTHONPATH": str(BACKEND)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "- New.\n- Also new.\n"


def test_the_last_section_and_other_forms_of_headings_are_found(repository: Repository) -> None:
    repository.commit("0.1.0")
    repository.git("tag", "v0.1.0")
    assert repository.release("notes", "v0.1.0").stdout == "- Old.\n"
    repository.commit("0.3.0-rc.1", "# Changelog\n\n## 0.3.0-rc.1, 2026-12-01\n\nFirst try.\n")
    repository.git("tag", "--annotate", "--message", "A try", "v0.3.0-rc.1")
    assert repository.release("notes", "v0.3.0-rc.1").stdout == "First try.\n"


@pytest.mark.parametrize("tag", ["", "0.2.0", "v0.2", "v0.2.0; true", "main", "--help"])
def test_what_is_no_versions_tag_is_refused(repository: Repository, tag: str) -> None:
    assert "make verify TAG=v0.1.0" in repository.refused(tag)


def test_a_tag_that_is_not_here_is_refused(repository: Repository) -> None:
    repository.git("branch", "v9.9.9")
    assert "git fetch --tags" in repository.refused("v9.9.9")


@pytest.mark.parametrize("remote", [False, True])
def test_a_tag_beside_main_is_refused(repository: Repository, *, remote: bool) -> None:
    """If there is a remote, its main counts. A commit that is only on this clone's main was not merged."""
    if remote:
        repository.git("update-ref", "refs/remotes/origin/main", "main")
    else:
        repository.git("checkout", "--quiet", "-b", "side")
    repository.commit("0.3.0", CHANGES.replace("Unreleased", "0.3.0"))
    repository.git("tag", "v0.3.0")
    assert "does not lie on main" in repository.refused("v0.3.0")


def test_a_tag_of_another_version_is_refused(repository: Repository) -> None:
    repository.git("tag", "v0.3.0")
    assert "backend/pyproject.toml says version 0.2.0 at v0.3.0" in repository.refused("v0.3.0")


@pytest.mark.parametrize(
    "changes",
    [
        "# Changelog\n",
        "## [0.3.0] - today\n\n## [0.2.0]\n\n- New.\n",
        "## 0.3.0, unreleased\n\n- New.\n",
        "## 0.3.01\n\n-\n",
    ],
)
def test_a_version_without_a_section_is_refused(repository: Repository, changes: str) -> None:
    repository.commit("0.3.0", changes)
    repository.git("tag", "v0.3.0")
    assert "`## [0.3.0] - DATE`" in repository.refused("v0.3.0")


def test_what_lies_in_the_work_tree_does_not_count(repository: Repository) -> None:
    repository.commit("0.3.0")
    assert repository.release("verify", "v0.2.0").returncode == 0


def test_an_archive_of_the_release_is_verified(repository: Repository, image: Image, tmp_path: Path) -> None:
    file = image.archive(tmp_path)
    done = repository.release("verify", "v0.2.0", file)
    assert f"with SBOM and provenance: {image.build()}" in done.stdout, done


def other_version(image: Image) -> None:
    image.labels["version"] = "0.1.0"


def other_revision(image: Image) -> None:
    image.labels["revision"] = "0" * 40


def no_labels(image: Image) -> None:
    image.labels = {}


def one_platform(image: Image) -> None:
    del image.platforms[1]


def no_sbom(image: Image) -> None:
    del image.predicates[0]


def no_provenance(image: Image) -> None:
    del image.predicates[1]


FAULTS: dict[Callable[[Image], None], str] = {
    other_version: "says version 0.1.0, and the tag says 0.2.0",
    other_revision: "says revision 000",
    no_labels: "says version None",
    one_platform: "is not there for linux/arm64",
    no_sbom: "has no SBOM",
    no_provenance: "has no provenance",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_image_is_refused(tmp_path: Path, fault: Callable[[Image], None]) -> None:
    image = Image(REVISION)
    fault(image)
    with pytest.raises(TemplateError, match=FAULTS[fault]):
        require_image(Archive(Path(image.archive(tmp_path))), "0.2.0", REVISION)


def test_an_archive_that_was_changed_is_refused(tmp_path: Path) -> None:
    image = Image(REVISION)
    image.build()
    read = [digest for digest, content in image.blobs.items() if content != b"{}"]
    assert len(read) == 7
    for digest in read:
        file = Path(image.archive(tmp_path, damaged=digest))
        with pytest.raises(TemplateError, match=f"{digest} in it is something else"):
            require_image(Archive(file), "0.2.0", REVISION)


def test_a_file_that_is_no_archive_is_refused(repository: Repository, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_text("not a tar")
    assert "is no OCI archive" in repository.refused("v0.2.0", str(file))
    with tarfile.open(file, "w"):
        pass
    with pytest.raises(TemplateError, match="is no OCI archive"):
        Archive(file)


@pytest.mark.parametrize("name", [":0.2.0", "@DIGEST"])
def test_a_published_image_is_verified(repository: Repository, image: Image, tmp_path: Path, name: str) -> None:
    path, digest = image.publish(tmp_path), image.build()
    named = f"registry.example.com/acme/orders{name}".replace("DIGEST", digest)
    said = repository.release("verify", "v0.2.0", named, PATH=path).stdout
    assert f"{named} is that version" in said
    assert f"    registry.example.com/acme/orders@{digest}\n" in said
    signer = said.split("--certificate-identity-regexp '")[1].split("'")[0]
    workflow = "https://github.com/acme/orders/.github/workflows/ci.yml@refs/"
    assert re.match(signer, f"{workflow}tags/v0.2.0")
    assert re.match(signer, f"{workflow}heads/main")
    for other in ("tags/v0.2.00", "heads/main2", "tags/v0x2.0", "heads/side"):
        assert not re.match(signer, f"{workflow}{other}")


@pytest.mark.parametrize("fault", FAULTS)
def test_another_published_image_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: Callable[[Image], None]
) -> None:
    image = Image(REVISION)
    fault(image)
    monkeypatch.setenv("PATH", image.publish(tmp_path))
    with pytest.raises(TemplateError, match=FAULTS[fault]):
        require_image(Published("registry.example.com/acme/orders:0.2.0"), "0.2.0", REVISION)


def test_an_image_that_cannot_be_read_says_what_to_do(repository: Repository, image: Image, tmp_path: Path) -> None:
    path = image.publish(tmp_path)
    assert "`docker login`" in repository.refused("v0.2.0", "registry.example.com/acme/nothing:0.2.0", PATH=path)
