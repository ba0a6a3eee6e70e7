"""The guide in the OpenAPI document. It says once what holds for many operations, and those operations link to it.

A part of it is in the document only if an operation uses it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GROUPS = {"health": "Whether the process runs, and whether it can serve."}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation with its path and its method."""
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            yield path, method, operation


def add_guide(document: dict[str, Any]) -> None:
    """Add the guide to the description of the document, links to the operations, and descriptions to the groups."""
    groups = {tag["name"]: tag for tag in document.get("tags", ())}
    used = {"Request ids", "HEAD"}
    for path, _, operation in operations(document):
        parts = _parts_of(operation)
        used.update(parts)
        if parts and "description" in operation:
            operation["description"] += f"\n\nSee {', '.join(f'[{part}](#{_anchor(part)})' for part in parts)}."
        for tag in operation.get("tags", ()):
            groups.setdefault(tag, {"name": tag}).setdefault("description", _group(tag, path))
    document["tags"] = [*groups.values()]
    _, *guide = re.split(r"^## (.+)\n", "\n" + Path(__file__).with_suffix(".md").read_text("utf-8"), flags=re.MULTILINE)
    # The parts are closed, so that Swagger UI shows the operations without scrolling.
    texts = [
        f'<details id="{_anchor(part)}"><summary><b>{part}</b></summary>\n\n{text.strip()}\n\n</details>'
        for part, text in zip(guide[::2], guide[1::2], strict=True)
        if part in used
    ]
    document["info"]["description"] = "\n\n".join([document["info"].get("description", ""), *texts]).strip()


def _parts_of(operation: dict[str, Any]) -> list[str]:
    """The parts of the guide that the operation needs, in their order."""
    has = {*operation["responses"], *(parameter["name"] for parameter in operation.get("parameters", ()))}
    needs = {
        "Errors": {"400", "503"},
        "Paging": {"cursor"},
        "Versions": {"If-Match"},
        "Safe retries": {"Idempotency-Key"},
        "Sign-in": {"401"},
        "Rate limit": {"429"},
    }
    return [part for part, any_of in needs.items() if has & any_of]


def _anchor(part: str) -> str:
    return part.lower().replace(" ", "-")


def _group(tag: str, path: str) -> str:
    """What a group is about, if the application says nothing in `openapi_tags`."""
    _, user, below = path.partition("/{user_id}/")
    first, words = below.partition("/")[0], tag.replace("_", " ")
    if not user:
        return _GROUPS.get(tag, f"Operations on {words}.")
    return f"The user's {words}." if first == tag else f"The {words} in the user's {first}."
