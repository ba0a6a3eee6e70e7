"""Removes the example, tasks, from a project: its files, and the few lines that name them.

`make init EXAMPLE=remove` runs it on the project, and `make update` on the template's new files.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from groundwork.dev.client_version import RECORD, render

ROOT = Path(__file__).parents[3]

FILES = [
    "backend/app/models/task.py",
    "backend/app/schemas/task.py",
    "backend/app/services/tasks.py",
    "backend/app/routes/tasks.py",
    "backend/migrations/versions/20261123_create_tasks.py",
    "backend/app/seed.py",
    "backend/tests/test_task.py",
    "loadtests/tasks.py",
]

# The texts about tasks in the OpenAPI document, and their replacements.
WORDS = [
    ("Tasks over HTTP on PostgreSQL.", "A service over HTTP on PostgreSQL."),
    ("Tasks, kept apart between users. ", ""),
]

# For each file: the texts that name the example, and their replacements.
LINES = {
    "backend/app/main.py": [
        ("from app.routes.tasks import router as tasks\n", ""),
        ("            tasks,\n", ""),
        ('f"Tasks, kept apart between users. {CONVENTIONS}"', "CONVENTIONS"),
        ("Tasks over HTTP on PostgreSQL.", "A service over HTTP on PostgreSQL."),
    ],
    "backend/Dockerfile": [
        ("Tasks over HTTP on PostgreSQL", "A service over HTTP on PostgreSQL"),
    ],
    "backend/app/models/__init__.py": [
        ("from app.models.task import Task\n", ""),
        ('    "Task",\n', ""),
    ],
    "backend/migrations/versions/20261124_create_idempotency_keys.py": [
        ('down_revision = "26a38bc0c827"', "down_revision = None"),
    ],
    "backend/migrations/versions/20261128_collate_keys.py": [
        (
            """\
# PostgreSQL cannot alter the column by which a table is partitioned, as docs/scaling.md does with this one.
TASKS = \"\"\"
    DO $$ BEGIN
        IF (SELECT relkind FROM pg_class WHERE oid = 'tasks'::regclass) = 'r' THEN
            ALTER TABLE tasks ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "{}";
        END IF;
    END $$
\"\"\"
""",
            "",
        ),
        ('    op.execute(TASKS.format("C"))\n', ""),
        ('    op.execute(TASKS.format("default"))\n', ""),
    ],
    "backend/tests/resources.py": [
        (
            """\
TASK = Resource(
    "task",
    text="title",
    optional={"description": "Two litres", "completed": True},
    filter="completed",
    more={"toggle_task": lambda client, one: client.patch(f"{one}/complete")},
)

""",
            "",
        ),
        ("    TASK,\n", ""),
    ],
    "backend/pyproject.toml": [
        ("[tool.template]\n", '[tool.template]\nexample = "removed"  # so that `make update` leaves it out too\n'),
    ],
    "loadtests/locustfile.py": [
        ("from loadtests.tasks import TaskUser\n", ""),
        ('["Plan", "TaskUser"]', '["Plan"]'),
    ],
}

DOCUMENT = "backend/openapi.json"


class ChangedError(Exception):
    """A file does not have the expected text. The message is a sentence."""


def remove(root: Path) -> None:
    """Remove the example from the project in this folder.

    Raises:
        ChangedError: a file does not have the expected text. Then nothing was done.
    """
    written = {path: _replaced(root, path) for path in LINES}
    if (root / DOCUMENT).exists():
        written[DOCUMENT] = _without_tasks(json.loads(_read(root, DOCUMENT)))
        if (root / RECORD).exists():
            version = json.loads(_read(root, RECORD))["version"]
            written[RECORD] = render(version, json.loads(written[DOCUMENT]))
    for path in FILES:
        _read(root, path)
    for path in FILES:
        (root / path).unlink()
    for path, text in written.items():
        (root / path).write_text(text)


def _read(root: Path, path: str) -> str:
    try:
        return (root / path).read_text()
    except FileNotFoundError:
        raise ChangedError(f"{path} is no longer there. Restore it with git, or remove the example by hand.") from None


def _replaced(root: Path, path: str) -> str:
    text = _read(root, path)
    for old, new in LINES[path]:
        if old not in text:
            line = old.strip().splitlines()[0]
            raise ChangedError(
                f"{path} is no longer as it was. Restore it with git, or remove the example by hand. It lacks: {line}"
            )
        text = text.replace(old, new)
    return text


def _without_tasks(document: dict[str, Any]) -> str:
    """The OpenAPI document without the paths of tasks, and without what only these paths use."""
    document["paths"] = {path: item for path, item in document["paths"].items() if "/tasks" not in path}
    for old, new in WORDS:
        for name in ("summary", "description"):
            document["info"][name] = document["info"][name].replace(old, new)
    used = {tag for item in document["paths"].values() for operation in item.values() for tag in operation["tags"]}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] in used]
    _drop_unused_guide(document)
    _drop_unused_components(document)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _drop_unused_guide(document: dict[str, Any]) -> None:
    """Remove the parts of the guide to which no operation links, except those that hold for all operations."""
    linked = set(re.findall(r"\]\(#([\w-]+)\)", json.dumps(document["paths"]))) | {"request-ids", "head"}
    document["info"]["description"] = re.sub(
        r'\n\n<details id="([\w-]+)">.*?</details>',
        lambda part: part[0] if part[1] in linked else "",
        document["info"]["description"],
        flags=re.DOTALL,
    )


def _drop_unused_components(document: dict[str, Any]) -> None:
    kinds = document.get("components", {})
    while unused := [
        (kind, name)
        for kind in kinds
        for name in kinds[kind]
        if f'"#/components/{kind}/{name}"' not in json.dumps(document)
    ]:
        for kind, name in unused:
            del kinds[kind][name]
    document["components"] = {kind: named for kind, named in kinds.items() if named}
    if not document["components"]:
        del document["components"]


if __name__ == "__main__":
    try:
        remove(ROOT)
    except ChangedError as error:
        print(error, file=sys.stderr)
        sys.exit(os.EX_DATAERR)
