"""The version of the generated clients, which follows the OpenAPI document. Needs only the standard library.

`clients/version.json` holds the version, and the digest of the document that it belongs to.
"""

import hashlib
import json
from typing import Any

RECORD = "clients/version.json"


def digest(document: dict[str, Any]) -> str:
    """The digest of the parts from which clients are generated. They do not name the service, so it may be renamed."""
    parts = {name: document.get(name, {}) for name in ("paths", "components")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def render(version: str, document: dict[str, Any]) -> str:
    """The text of the record."""
    return json.dumps({"version": version, "document": digest(document)}, indent=2) + "\n"


def bumped(version: str, *, breaking: bool) -> str:
    """The next version: a new minor one when clients break, otherwise a new patch. A major one is set by hand."""
    major, minor, patch = map(int, version.split("."))
    return f"{major}.{minor + 1}.0" if breaking else f"{major}.{minor}.{patch + 1}"


def major(version: str) -> int:
    return int(version.partition(".")[0])


def require_current(record: str, document: dict[str, Any]) -> None:
    """Compare the text of the record with the document.

    Raises:
        AssertionError: the document has changed and the version has not.
    """
    __tracebackhide__ = True
    if json.loads(record)["document"] != digest(document):
        raise AssertionError(
            f"The OpenAPI document has changed and the clients' version in {RECORD} has not. Run `make clients`,"
            " which raises it, and commit both files together."
        )
