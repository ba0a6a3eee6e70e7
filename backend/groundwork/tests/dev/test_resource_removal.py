"""`make resource … REMOVE=yes` takes out what the same line has added, and nothing that a team has written there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from groundwork.dev.resource import __main__ as command
from groundwork.dev.resource import migration
from groundwork.dev.resource.description import described
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.tree import Tree
from groundwork.dev.resource.writing import take_out, write
from groundwork.tests.guide.guide import ROOT

RESOURCE = described("payment", "task:ref(tasks) paid:bool")
ROUTES, SERVICE = "app/routes/tasks.py", "app/services/tasks.py"
MODELS, MAIN, TABLE = "app/models/__init__.py", "app/main.py", "tests/resources.py"
DECORATOR = '@router.delete("/{task_id}", responses=DELETED, openapi_extra=CONDITIONS)'
IDEMPOTENCY = "from groundwork.http.idempotency import RETRIES, IdempotencyKey, create_once\n"
DELETE = "_DELETE = VersionedStatement(delete(Task).where(owned_row(Task)), Task, _GET)\n"
SHIPPED = "from app.core.errors import TaskShipped\n"
ERRORS = "from groundwork.errors import Conflict, NotFound\n"
DOCUMENTED = [
    (ROUTES, "import RETRIES", "import CONFLICT, RETRIES"),
    (ROUTES, "responses=DELETED", "responses={**DELETED, **CONFLICT}"),
]
LIST_OF_ROUTERS = """\
resources=[
            # The routers of users' resources. With sign-in, users reach only what is their own.
            tasks,
        ]"""
# What a team may have made of the places that the command changes: file, text of the template, the team's own.
CHANGED = {
    "answers of ones own": [
        (ROUTES, DECORATOR, DECORATOR.replace("DELETED", "{**DELETED, **problem_responses(Conflict, TaskShipped)}")),
        (ROUTES, "from app.core.database", f"{SHIPPED}from app.core.database"),
        (ROUTES, "from groundwork.http.bodies", f"{ERRORS}from groundwork.http.bodies"),
    ],
    "answers in lines of their own, with comments": [
        (
            ROUTES,
            DECORATOR,
            '@router.delete(\n    "/{task_id}",\n    responses={\n        **DELETED,  # as all\n        # and our own\n'
            "        **problem_responses(Conflict, TaskShipped),  # too late\n    },\n    openapi_extra=CONDITIONS,\n)",
        ),
    ],
    "answers by number": [(ROUTES, "responses=DELETED", 'responses={**DELETED, 410: {"description": "Gone (1)."}}')],
    "answers joined by |": [(ROUTES, "responses=DELETED", "responses=DELETED | problem_responses(Conflict)")],
    "answers that another line makes": [(ROUTES, "responses=DELETED", "responses=answers_of(DELETED, [409, (410)])")],
    "a decorator that is nearly too long": [
        (ROUTES, "responses=DELETED", 'responses={**DELETED, **problem_responses(Conflict)}, name="d_task"')
    ],
    "arguments in another order": [
        (ROUTES, "responses=DELETED, openapi_extra=CONDITIONS", "openapi_extra=CONDITIONS, responses=DELETED")
    ],
    "another route that deletes": [
        (ROUTES, DECORATOR, f'@router.delete("", responses=ALL)\ndef delete_all() -> None:\n    ...\n\n\n{DECORATOR}')
    ],
    "its own use of CONFLICT": [
        (ROUTES, "import RETRIES", "import CONFLICT, RETRIES"),
        (ROUTES, "responses=WRITTEN", "responses={**WRITTEN, **CONFLICT}"),
    ],
    "more imports, in lines of their own": [
        (ROUTES, IDEMPOTENCY, f"{IDEMPOTENCY[:40]}(\n    RETRIES,\n    IdempotencyKey,\n    create_once,\n)\n"),
        (SERVICE, "from groundwork import ids", "from groundwork import errors, ids  # noqa: F401"),
    ],
    "imports that nothing uses": [(ROUTES, "from functools import partial", "from functools import cache, partial")],
    "imports in another order": [
        (MAIN, "from app.core.config import Settings, load_settings\n", ""),
        (MAIN, "\n\ndef create_app", "from app.core.config import Settings, load_settings\n\n\ndef create_app"),
    ],
    "text that the formatter would change": [
        (ROUTES, DECORATOR, "@router.delete( '/{task_id}', responses = DELETED , openapi_extra=CONDITIONS )"),
        (MAIN, "lifespan=lifespan", "lifespan = lifespan"),
        (MODELS, '"Task",', "'Task',"),
        (SERVICE, DELETE, DELETE.replace(", Task, _GET)", ",Task,_GET )")),
    ],
    "sentences of ones own": [
        *DOCUMENTED,
        (SERVICE, ", Task, _GET)\n_TOGGLE", ", Task, _GET, conflicts=_IN_USE)\n_TOGGLE"),
        (SERVICE, "_LIST =", '_IN_USE = {\'a\': \'It\\\'s "in use".\', "b": "c"}  # of tasks\n\n_LIST ='),
    ],
    "sentences of ones own, in lines": [
        *DOCUMENTED,
        (SERVICE, ", Task, _GET)\n_TOGGLE", ", Task, _GET, conflicts=_TOLD)\n_TOGGLE"),
        (SERVICE, "_LIST =", '# Told to clients.\n_TOLD: dict[str, str] = {\n    "a": "b",  # why\n}\n\n_LIST ='),
    ],
    "sentences in the statement": [
        *DOCUMENTED,
        (SERVICE, ", Task, _GET)\n_TOGGLE", ', Task, _GET, conflicts={"a": "b"})\n_TOGGLE'),
    ],
    "a statement in lines of its own": [
        (
            SERVICE,
            DELETE,
            "_DELETE = VersionedStatement(\n    delete(Task).where(owned_row(Task)),  # its own\n    Task,\n"
            "    _GET,  # again\n)\n",
        ),
    ],
    "a comment above the statements": [(SERVICE, "_LIST =", "# Newest first.\n_LIST =")],
    "no documented errors": [(SERVICE, "Remove a task for good.\n\n    Raises:", "Remove it.\n\n    Note:")],
    "an error with quotation marks": [(SERVICE, '"""Remove a task for good.', '"""Remove a "task" for good.')],
    "names in one line": [
        (MODELS, '[\n    "IdempotencyRecord",\n    "Task",\n    "metadata",\n]', '["Task", "metadata"]')
    ],
    "names with comments, in another order": [
        (MODELS, '    "IdempotencyRecord",\n', '    # tables\n    "Zebra",  # 1\n    "IdempotencyRecord",  # 2\n')
    ],
    "routers in one line": [
        (
            MAIN,
            LIST_OF_ROUTERS,
            "resources=[tasks]",
        )
    ],
    "routers with comments": [(MAIN, "            tasks,\n", "            tasks,  # one\n            # the rest\n")],
    "a list of routers": [
        (
            MAIN,
            LIST_OF_ROUTERS,
            "resources=ROUTERS",
        ),
        (MAIN, "\n\ndef create_app", "\nROUTERS = [\n    tasks,\n]\n\n\ndef create_app"),
    ],
    "tests in one line": [
        (TABLE, "RESOURCES: list[Resource] = [\n    # All that belong to users.\n    TASK,\n]", "RESOURCES = [TASK]")
    ],
    "tests with a comment above": [(TABLE, "RESOURCES: list", "# All of them.\nRESOURCES: list")],
    "text of other languages": [
        (ROUTES, '"/{task_id}", responses=DELETED', '"/{task_id}", name="löschen-Ω", responses=DELETED'),
        (SERVICE, "What can be done", "Was man tun kann"),
    ],
}


def changed(*changes: tuple[str, str, str]) -> Tree:
    """The template, with what a team has changed."""
    tree = Tree(ROOT / "backend")
    for path, old, new in changes:
        text = tree.read(path)
        assert old in text, (path, old)
        tree.texts[path] = text.replace(old, new, 1)
    return tree


@pytest.mark.parametrize("changes", CHANGED.values(), ids=CHANGED)
def test_the_places_are_byte_for_byte_as_they_were(changes: list[tuple[str, str, str]]) -> None:
    tree = changed(*changes)
    before = {path: tree.read(path) for path in (ROUTES, SERVICE, MODELS, MAIN, TABLE)}
    write(tree, RESOURCE)
    assert [path for path, text in before.items() if tree.read(path) == text] in ([], [ROUTES])
    take_out(tree, RESOURCE)
    for path, text in before.items():
        assert tree.read(path) == text, path
    assert all(text is None for path, text in tree.texts.items() if path not in before)


EMPTY = {
    "with the template's comments": (
        (MAIN, "            tasks,\n", ""),
        (TABLE, "    TASK,\n", ""),
    ),
    "without": (
        (MAIN, LIST_OF_ROUTERS, "resources=[]"),
        (TABLE, "RESOURCES: list[Resource] = [\n    # All that belong to users.\n    TASK,\n]", "RESOURCES = []"),
    ),
}


@pytest.mark.parametrize("changes", EMPTY.values(), ids=EMPTY)
def test_the_first_resource_leaves_empty_lists_as_they_were(changes: tuple[tuple[str, str, str], ...]) -> None:
    resource = described("payment", "paid:bool")
    tree = changed(*changes, (MAIN, "from app.routes.tasks import router as tasks\n", ""))
    before = {path: tree.read(path) for path in (MODELS, MAIN, TABLE)}
    write(tree, resource)
    assert "payments,\n" in tree.read(MAIN) or "[payments]" in tree.read(MAIN)
    assert "    PAYMENT,\n]" in tree.read(TABLE) or "[PAYMENT]" in tree.read(TABLE)
    take_out(tree, resource)
    assert {path: tree.read(path) for path in before} == before


# What a team has done since with the lines that were added, and what is left of it.
SINCE = {
    "names in another order": (MODELS, '    "Payment",\n    "Task",\n', '    "Task",\n    "Payment",\n'),
    "routers in another order": (
        MAIN,
        "            payments,\n            tasks,\n",
        "            tasks,\n            payments,\n",
    ),
    "tests in another order": (TABLE, "    PAYMENT,\n    TASK,\n", "    TASK,\n    PAYMENT,\n"),
    "answers in another order": (ROUTES, "{**DELETED, **CONFLICT}", "{**CONFLICT, **DELETED}"),
    "an import in another place": (
        MAIN,
        "from app.routes.payments import router as payments\nfrom app.routes.tasks import router as tasks\n",
        "from app.routes.tasks import router as tasks\nfrom app.routes.payments import router as payments\n",
    ),
    "taken out by hand": (MODELS, '    "Payment",\n', ""),
    "answers taken out by hand": (ROUTES, "{**DELETED, **CONFLICT}", "DELETED"),
    "an entry taken out by hand": (TABLE, "    PAYMENT,\n", ""),
}


@pytest.mark.parametrize("change", SINCE.values(), ids=SINCE)
def test_what_was_moved_since_is_taken_out(change: tuple[str, str, str]) -> None:
    tree, (path, old, new) = changed(), change
    before = {path: tree.read(path) for path in (ROUTES, SERVICE, MODELS, MAIN, TABLE)}
    write(tree, RESOURCE)
    assert old in tree.read(path)
    tree.texts[path] = tree.read(path).replace(old, new, 1)
    take_out(tree, RESOURCE)
    assert {path: tree.read(path) for path in before} == before


REFUSED = {
    "a comment beside a name": (MODELS, '"Payment",', '"Payment",  # ours', "has a comment of its own in 'line 10:"),
    "a comment beside the router": (MAIN, "            payments,", "            payments,  # new", "take that line"),
    "one line for two imports": (MAIN, "router as payments", "router as payments  # ours", "take them out by hand"),
    "another use of the router": (MAIN, "__getattr__,", "ALSO = payments\n__getattr__,", "uses payments once more"),
    "another sentence": (SERVICE, "The task has payments:", "It has payments:", "by another sentence, in 'line"),
    "a sentence that moved": (SERVICE, ", conflicts=_IN_USE)", ")", "where _DELETE does not, in 'line"),
    "another statement with the sentences": (
        SERVICE,
        "_GET, returns=TaskRead)\n_DELETE",
        "_GET, returns=TaskRead, conflicts=_IN_USE)\n_DELETE",
        "uses _IN_USE once more, in 'line",
    ),
    "answers of which nobody can tell the reason": (
        ROUTES,
        "    await tasks.delete_task(",
        "    await forbid_shipped(task_id)\n    await tasks.delete_task(",
        "write **problem_responses(Conflict) instead if it does, or take **CONFLICT out if not",
    ),
    "answers whose reason may be what is read before": (
        ROUTES,
        "    await tasks.delete_task(",
        "    allowed = await not_shipped(task_id)\n    await tasks.delete_task(",
        "write **problem_responses(Conflict) instead if it does, or take **CONFLICT out if not",
    ),
    "another entry in the tests": (TABLE, '"paid": True', '"paid": False', "another PAYMENT than this line"),
    "another use of the entry": (TABLE, "DIFFERS:", "MORE = PAYMENT\nDIFFERS:", "uses PAYMENT once more, in 'line"),
    "a file that Python cannot read": (MAIN, "MIDDLEWARE,", "MIDDLEWARE,)", "cannot be read by Python, in line"),
    "a use elsewhere": (
        "app/extensions.py",
        "from contextlib",
        "from app.services import payments\nfrom contextlib",
        "backend/app/extensions.py needs app.services.payments, in line",
    ),
    "a use in the tests": (
        "tests/conftest.py",
        "import pytest",
        "import pytest\nfrom tests.resources import PAYMENT",
        "backend/tests/conftest.py needs tests.resources.PAYMENT, in line",
    ),
    "a reference in another model": (
        "app/models/task.py",
        "class Task(",
        'KEY = "payments.id"\n\n\nclass Task(',
        "backend/app/models/task.py needs the table payments, in line",
    ),
    "its own model": ("app/models/payment.py", "A payment of a user", "Money", "or take it out by hand"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_was_changed_since_is_refused_with_the_line(refused: tuple[str, str, str, str]) -> None:
    tree, (path, old, new, says) = changed(), refused
    write(tree, RESOURCE)
    assert old in tree.read(path)
    tree.texts[path] = tree.read(path).replace(old, new, 1)
    with pytest.raises(ResourceError) as error:
        take_out(Tree(tree.backend, tree.texts), RESOURCE)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


class TestWhatFailsLater:
    """The service does not load, say, or the migration cannot be written: all files are as they were."""

    @pytest.fixture
    def copy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for part in ("app", "tests", "migrations"):
            shutil.copytree(ROOT / "backend" / part, tmp_path / "backend" / part)
        for file in ("backend/openapi.json", "backend/alembic.ini", "backend/pyproject.toml", "clients/version.json"):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / file, tmp_path / file)
        monkeypatch.chdir(tmp_path / "backend")
        monkeypatch.setattr(migration, "create", self.create)
        monkeypatch.setattr(command, "_write_documents", lambda: None)
        return tmp_path

    @staticmethod
    def create(table: str) -> None:
        (migration.VERSIONS / f"1_create_{table}.py").write_text("# Its steps.\n")

    @staticmethod
    def fails() -> None:
        Path("openapi.json").write_text("half of i")
        Path("../clients/version.json").write_text("")
        migration.run("app.main_that_is_missing", "x")

    @pytest.mark.parametrize("action", [command._add, command._remove], ids=["added", "removed"])
    def test_all_files_are_put_back(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[object], None]
    ) -> None:
        if action is command._remove:
            command._add(RESOURCE)
            monkeypatch.setattr(migration, "newest", lambda _: None)
        before = _files(copy)
        monkeypatch.setattr(command, "_write_documents", self.fails)
        with pytest.raises(ResourceError):
            action(RESOURCE)
        assert _files(copy) == before

    def test_a_traceback_becomes_a_sentence(self, copy: Path) -> None:
        (copy / "backend" / "app" / "broken.py").write_text("\nx = 1 + 'a'\n")
        with pytest.raises(ResourceError) as error:
            migration.run("app.broken")
        assert "the service would not load: TypeError: " in str(error.value)
        assert "(backend/app/broken.py, line 2). Mend that place, then run the command again" in str(error.value)
        assert "Traceback" not in str(error.value)


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
