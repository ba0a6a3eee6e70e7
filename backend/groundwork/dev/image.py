"""Reads the platforms, labels and attestations of an image, from an OCI archive or from its registry."""

import hashlib
import json
import re
import subprocess
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundwork.dev.repository import TemplateError

Document = dict[str, Any]


class Image(ABC):
    """An image of several platforms, as BuildKit writes it.

    Attributes:
        name: the file or the name that was given, for messages.
        digest: the digest of its index.
        platforms: the digest of each platform's manifest.
    """

    def __init__(self, name: str, index: bytes) -> None:
        self.name = name
        self.digest = digest_of(index)
        self._entries: list[Document] = json.loads(index).get("manifests", [])
        self.platforms = {"{os}/{architecture}".format(**each["platform"]): each["digest"] for each in self._entries}

    def attestations(self, platform: str) -> Iterator[str]:
        """The types of the attestations of a platform's image."""
        for each in self._entries:
            if each.get("annotations", {}).get("vnd.docker.reference.digest") == self.platforms[platform]:
                for layer in self.manifest(each["digest"])["layers"]:
                    yield layer["annotations"]["in-toto.io/predicate-type"]

    @abstractmethod
    def manifest(self, digest: str) -> Document: ...

    @abstractmethod
    def labels(self, platform: str) -> dict[str, str]: ...


class Archive(Image):
    """An image in an OCI archive, as `image.sh save` writes it. Content that does not fit its digest is refused."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            (root,) = json.loads(self._member("index.json"))["manifests"]
        except (tarfile.TarError, KeyError, ValueError):
            raise TemplateError(
                f"{file} is no OCI archive of one image: Give one that `image.sh save` has written."
            ) from None
        super().__init__(str(file), self._blob(root["digest"]))

    def manifest(self, digest: str) -> Document:
        document: Document = json.loads(self._blob(digest))
        return document

    def labels(self, platform: str) -> dict[str, str]:
        configuration = json.loads(self._blob(self.manifest(self.platforms[platform])["config"]["digest"]))
        return configuration["config"].get("Labels") or {}

    def _blob(self, digest: str) -> bytes:
        content = self._member(f"blobs/{digest.replace(':', '/')}")
        if digest_of(content) != digest:
            raise TemplateError(f"{self._file} is damaged: {digest} in it is something else. Get the file again.")
        return content

    def _member(self, path: str) -> bytes:
        with tarfile.open(self._file) as archive:
            member = archive.extractfile(path)
            return member.read() if member else b""


class Published(Image):
    """An image in a registry, read by `docker buildx imagetools` with the engine's sign-in."""

    def __init__(self, name: str) -> None:
        self.repository = re.sub(r"(:[^:/@]+)?(@.+)?$", "", name)
        super().__init__(name, self._inspect(name, "--raw"))

    def manifest(self, digest: str) -> Document:
        document: Document = json.loads(self._inspect(f"{self.repository}@{digest}", "--raw"))
        return document

    def labels(self, platform: str) -> dict[str, str]:
        images = json.loads(self._inspect(f"{self.repository}@{self.digest}", "--format", "{{json .Image}}"))
        return images[platform]["config"].get("Labels") or {}

    def _inspect(self, name: str, *options: str) -> bytes:
        command = ["docker", "buildx", "imagetools", "inspect", *options, name]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            raise TemplateError(
                "docker with its plugin buildx is needed to read a published image: install both."
            ) from None
        if done.returncode:
            raise TemplateError(
                f"{name} is no file here, and cannot be read from its registry: give the right name, or `docker login`"
                f" there. It said: {done.stderr.decode(errors='replace').strip()}"
            )
        return done.stdout


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
