"""`python -m groundwork.dev.release verify TAG [IMAGE]`, for `make verify`, and `… notes TAG`, the release's text.

Needs git, and of Python only the standard library. IMAGE is a file that `image.sh save` wrote, or the name of a
published image, about which `docker buildx imagetools` asks its registry.
"""

import re
import sys
import tomllib
from pathlib import Path

from groundwork.dev.image import Archive, Image, Published
from groundwork.dev.repository import PROJECT, TemplateError, git, run_command, succeeds

CHANGES = "CHANGELOG.md"
PLATFORMS = ["linux/amd64", "linux/arm64"]
# What CI attaches to the image of each platform. The type of provenance ends with a version, which is left out here.
ATTESTATIONS = {"SBOM": "https://spdx.dev/Document", "provenance": "https://slsa.dev/provenance/"}


def verify(tag: str, image: str = "") -> None:
    """Check what a release promises, and print each result. It does not check the signature, which cosign does.

    Args:
        tag: the release's tag, as in v0.1.0.
        image: an OCI archive, or the name of a published image; without one, only the tag is checked.

    Raises:
        TemplateError: a promise is not kept.
    """
    version = require_version(tag)
    notes(tag)
    print(f"{tag} lies on main. {PROJECT} and {CHANGES} say version {version} there.")
    if image:
        read = Archive(Path(image)) if Path(image).is_file() else Published(image)
        source = require_image(read, version, revision=git("rev-parse", f"refs/tags/{tag}^{{commit}}"))
        print(f"{image} is that version for {' and '.join(PLATFORMS)}, with SBOM and provenance: {read.digest}")
        if isinstance(read, Published):
            print(f"Whether CI signed it, cosign says:\n\n{cosign_command(read, source, tag)}")


def require_version(tag: str) -> str:
    """The version of a tag. The tag must be on main and match the project's version."""
    match = re.fullmatch(r"v(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)", tag)
    if not match:
        raise TemplateError("TAG must be the tag of a version: make verify TAG=v0.1.0")
    if not succeeds("rev-parse", "--quiet", "--verify", f"refs/tags/{tag}"):
        raise TemplateError(
            f"There is no tag {tag} here. Run `git fetch --tags`, which gets those of the remote"
            " repository, or name another."
        )
    # The remote's main, where there is one: what lies on this clone's alone was not merged.
    main = "refs/remotes/origin/main" if succeeds("rev-parse", "--verify", "refs/remotes/origin/main") else "main"
    if not succeeds("merge-base", "--is-ancestor", f"refs/tags/{tag}", main):
        raise TemplateError(
            f"{tag} does not lie on main. Only what was merged is released: merge it, and tag that commit."
        )
    own = tomllib.loads(git("show", f"refs/tags/{tag}:{PROJECT}"))["project"]["version"]
    if own != match[1]:
        raise TemplateError(
            f"{PROJECT} says version {own} at {tag}. Set the version there, merge, and tag that commit."
        )
    return match[1]


def notes(tag: str) -> str:
    """The section of the changelog about the tag's version, without its heading."""
    version = tag.removeprefix("v")
    sections = re.split(r"^## +", git("show", f"refs/tags/{tag}:{CHANGES}"), flags=re.MULTILINE)
    for section in sections[1:]:
        heading, _, text = section.partition("\n")
        of_it = re.match(r"\[?([^\],\s]+)", heading)
        if of_it and of_it[1] == version and "unreleased" not in heading.lower() and text.strip():
            return text.strip()
    raise TemplateError(
        f"{CHANGES} at {tag} has no section of {version}. Give what is new the heading `## [{version}] - DATE`, merge,"
        " and tag that commit."
    )


def require_image(image: Image, version: str, revision: str) -> str:
    """Refuse an image that is not of this version and revision, or lacks a platform or attestation.

    Returns the address of the repository that built it.
    """
    if missing := [platform for platform in PLATFORMS if platform not in image.platforms]:
        raise TemplateError(
            f"{image.name} is not there for {missing[0]}. CI builds for both, so this is another build."
            " Push the tag and let CI build it."
        )
    source = ""
    for platform in PLATFORMS:
        labels = image.labels(platform)
        for name, expected in (("version", version), ("revision", revision)):
            if (found := labels.get(f"org.opencontainers.image.{name}")) != expected:
                raise TemplateError(
                    f"{image.name} for {platform} says {name} {found}, and the tag says {expected}: it was built from"
                    " something else. Push the tag and let CI build it."
                )
        for what, predicate in ATTESTATIONS.items():
            if not any(each.startswith(predicate) for each in image.attestations(platform)):
                raise TemplateError(
                    f"{image.name} for {platform} has no {what}. CI attaches one, so this was built elsewhere."
                    " Push the tag and let CI build it."
                )
        source = labels.get("org.opencontainers.image.source", "")
    return source


def cosign_command(image: Published, source: str, tag: str) -> str:
    """The command that checks the signer: ci.yml at this tag, or at main, when weekly.yml runs it to build again."""
    signer = f"^{re.escape(source)}/{re.escape('.github/workflows/ci.yml')}@refs/(tags/{re.escape(tag)}|heads/main)$"
    return (
        "  cosign verify --certificate-oidc-issuer https://token.actions.githubusercontent.com \\\n"
        f"    --certificate-identity-regexp '{signer}' \\\n"
        f"    {image.repository}@{image.digest}"
    )


def main(arguments: list[str]) -> None:
    match arguments:
        case ["verify", tag, *image]:
            verify(tag, *image)
        case ["notes", tag]:
            print(notes(tag))
        case _:
            raise TemplateError("Say verify TAG [IMAGE], or notes TAG.")


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
