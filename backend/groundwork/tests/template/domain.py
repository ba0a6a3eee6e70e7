"""A service as it may be after some months: five resources with their own tables, and edits in shared files."""

from collections.abc import Iterator

from groundwork.tests.template.conftest import Repository

# Singular and plural. Each resource gets what the example has: model, schema, service, routes and migration.
RESOURCES = [
    ("order", "orders"),
    ("invoice", "invoices"),
    ("customer", "customers"),
    ("parcel", "parcels"),
    ("supplier", "suppliers"),
]
_PATTERN = {
    "backend/app/models/task.py": "backend/app/models/{one}.py",
    "backend/app/schemas/task.py": "backend/app/schemas/{one}.py",
    "backend/app/services/tasks.py": "backend/app/services/{many}.py",
    "backend/app/routes/tasks.py": "backend/app/routes/{many}.py",
    "backend/migrations/versions/20261123_create_tasks.py": "backend/migrations/versions/20270101_create_{many}.py",
}
_TEST = '''\
"""What only {many} do."""

import httpx


async def test_a_new_{one}_is_found_again(client: httpx.AsyncClient) -> None:
    created = await client.post("/api/alice/{many}", json={{"title": "The first"}})
    assert created.status_code == 201
    found = await client.get(created.headers["location"])
    assert found.json() == created.json()


async def test_a_{one}_can_be_changed(client: httpx.AsyncClient) -> None:
    created = await client.post("/api/alice/{many}", json={{"title": "The first"}})
    changed = await client.put(created.headers["location"], json={{"title": "The second"}})
    assert changed.json()["title"] == "The second"


async def test_another_user_has_no_{many}(client: httpx.AsyncClient) -> None:
    await client.post("/api/alice/{many}", json={{"title": "The first"}})
    assert (await client.get("/api/bob/{many}")).json() == []
'''


def add_domain(project: Repository) -> list[str]:
    """Write and commit such a service. Returns the files that belong only to the team."""
    # Each migration follows the previous one. The first one follows the template's newest migration.
    revisions = ["b41f7a2c9d36", *(f"{number:012x}" for number, _ in enumerate(RESOURCES))]
    written = []
    for (one, many), down, revision in zip(RESOURCES, revisions, revisions[1:], strict=False):
        for path, example in _files(project, one, many):
            # The collation of the example's owner was added by a later migration.
            collated = example.replace(
                '"user_id", sa.String(length=255', '"user_id", sa.String(length=255, collation="C"'
            )
            text = collated.replace("26a38bc0c827", revision).replace("= None\nbranch", f'= "{down}"\nbranch')
            file = project.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            written.append(path)
    _edit_shared_files(project)
    project.commit("Orders, invoices, customers, parcels and suppliers")
    return written


def _files(project: Repository, one: str, many: str) -> Iterator[tuple[str, str]]:
    for source, target in _PATTERN.items():
        text = project.text(source)
        for old, new in (("tasks", many), ("task", one), ("Tasks", many.title()), ("Task", one.title())):
            text = text.replace(old, new)
        yield target.format(one=one, many=many), text
    yield f"backend/tests/test_{many}.py", _TEST.format(one=one, many=many)


def _edit_shared_files(project: Repository) -> None:
    plurals = [many for _, many in RESOURCES]
    project.change(
        "backend/app/main.py",
        lambda text: text.replace(
            "from app.routes.tasks import router as tasks\n",
            "".join(f"from app.routes.{name} import router as {name}\n" for name in [*plurals, "tasks"]),
        ).replace("            tasks,\n", "".join(f"            {name},\n" for name in [*plurals, "tasks"])),
    )
    project.change(
        "backend/app/models/__init__.py",
        lambda text: text.replace(
            "from app.models.task import Task",
            "\n".join(f"from app.models.{one} import {one.title()}" for one, _ in [*RESOURCES, ("task", "")]),
        ),
    )
    project.change("backend/app/core/config.py", lambda text: f"{text}\n\nINVOICE_DAYS = 30\n")
    project.change("README.md", lambda text: f"{text}\nOrders come from the web shop.\n")
    project.change(
        "Makefile", lambda text: text.replace("## format the code and mend what the linter can", "## format")
    )
    project.change("docker-compose.yml", lambda text: text.replace("postgres:17-trixie", "postgres:18-trixie"))
    project.change(
        "backend/pyproject.toml",
        lambda text: text.replace("dependencies = [\n", 'dependencies = [\n    "stripe>=12",\n', 1),
    )
    project.change("backend/requirements.txt", lambda text: f"{text}stripe==12.0.0 \\\n    --hash=sha256:{'0' * 64}\n")
