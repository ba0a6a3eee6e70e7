"""Takes the example, tasks, out of the repository, with the tests, load tests and documents that stand on it.

`make init EXAMPLE=remove` runs it, and `make update` on what comes from the template. A new test that sends requests to
tasks is to be named here: `make test-template` fails until it is.
"""

import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[3]

REMOVED = [
    "backend/app/models/task.py",
    "backend/app/routes/tasks.py",
    "backend/app/schemas/task.py",
    "backend/app/services/tasks.py",
    "backend/migrations/versions/20261123_create_tasks.py",
    "backend/dev/example.py",
    "backend/tests/template/test_example.py",
    "backend/tests/attack",
    "backend/tests/clients",
    "backend/tests/faults",
    "backend/tests/guide",
    "backend/tests/load",
    "backend/tests/services",
    "loadtests",
    "backend/tests/containers/host.py",
    "backend/tests/containers/test_pooler.py",
    "backend/tests/containers/test_stack.py",
    "backend/tests/containers/test_vm.py",
    "backend/tests/core/test_address_kind.py",
    "backend/tests/core/test_connecting.py",
    "backend/tests/core/test_request_memory.py",
    "backend/tests/http/test_access_log.py",
    "backend/tests/http/test_as_fastapi.py",
    "backend/tests/http/test_bad_input.py",
    "backend/tests/http/test_conditional.py",
    "backend/tests/http/test_encodings.py",
    "backend/tests/http/test_errors.py",
    "backend/tests/http/test_fast_routes.py",
    "backend/tests/http/test_growth.py",
    "backend/tests/http/test_head.py",
    "backend/tests/http/test_headers.py",
    "backend/tests/http/test_idempotency.py",
    "backend/tests/http/test_layers.py",
    "backend/tests/http/test_overload.py",
    "backend/tests/http/test_paging.py",
    "backend/tests/http/test_rolled_back.py",
    "backend/tests/http/test_tasks.py",
    "backend/tests/isolation/model.py",
    "backend/tests/isolation/test_model.py",
    "backend/tests/isolation/test_partitions.py",
    "backend/tests/isolation/test_statements.py",
    "backend/tests/migrations/test_partitioning.py",
    "backend/tests/migrations/test_rows.py",
    "backend/tests/nginx.py",
    "backend/tests/process/collector.py",
    "backend/tests/process/echo.py",
    "backend/tests/process/locked.py",
    "backend/tests/process/test_address_changes.py",
    "backend/tests/process/test_connections.py",
    "backend/tests/process/test_log.py",
    "backend/tests/process/test_memory.py",
    "backend/tests/process/test_metrics.py",
    "backend/tests/process/test_pooler.py",
    "backend/tests/process/test_proxies.py",
    "backend/tests/process/test_request_heads.py",
    "backend/tests/process/test_role.py",
    "backend/tests/process/test_server.py",
    "backend/tests/process/test_traces.py",
    "backend/tests/process/test_uvicorn.py",
    "backend/tests/sign_in/test_http.py",
    "backend/tests/sign_in/test_process.py",
    "docs/clients.md",
]

# By file: patterns of whole lines. A line that matches goes.
LINES = {
    ".ci/lock": ["--group load"],
    ".ci/run": ["with the real gate", "make loadtest", "make test-(faults|guide|attack)"],
    ".env.example": ["LOADTEST_PORT", "Locust"],
    ".gitignore": ["load test", "loadtests/"],
    "Makefile": ["venv-load"],
    "backend/README.md": ["`tests/(clients|faults|attack|guide)/`", "make test-guide"],
    "backend/app/main.py": ["import tasks$"],
    "backend/app/models/__init__.py": ["import Task$"],
    "backend/pyproject.toml": [
        "make benchmark", "orjson", r'^"\.\./loadtests', '^    "(faults|clients|attack|guide): ',
    ],
    "backend/tests/http/__init__.py": ["^ALICE"],
    "backend/tests/http/test_openapi.py": ['^    "Message"', '^    "(\\w+_tasks?|Task\\w+)"'],
    "backend/tests/test_requirements.py": ["LOAD"],
    "backend/tests/containers/stack.py": ["^TASKS"],
}  # fmt: skip

# By file: how paragraphs, or sections of a page, begin. They go as far as the next empty line, or heading.
PARAGRAPHS = {
    ".github/workflows/ci.yml": ["  clients:", "  load:", "  hardening:"],
    "Makefile": ["loadtest:", "benchmark:", "test-faults:", "test-attack:", "test-clients:", "test-guide:"],
    "README.md": ["## A session", "## Two at once, and again", "## A typed client", "## How fast it is"],
    "backend/pyproject.toml": [
        "load = [",
        '[[tool.mypy.overrides]]\nmodule = ["gevent',
        '[[tool.mypy.overrides]]\nmodule = ["load',
    ],
    "backend/tests/http/__init__.py": ["async def create("],
    "backend/tests/resources.py": ["TASKS = "],
    "backend/tests/containers/stack.py": ["def create(", "def titles("],
    "backend/tests/pooler.py": ["CHANGES = "],
    "docker-compose.yml": ["  # Locust's web page"],
}

# By file: what is there, and what takes its place. Where a space is, a line may end. These changes are made first.
TEXTS = {
    ".ci/check": [(" ../loadtests/Dockerfile", ""), (" ../loadtests", "")],
    ".ci/lock": [(" and loadtests/requirements.txt", "")],
    ".ci/run": [
        ("if npm view openapi-fetch version >/dev/null 2>&1; then make test-clients else echo \"npm, or the registry"
         " that it asks, does not answer: the OpenAPI document is not linted, and TypeScript is left out\" fi ", ""),
    ],
    ".github/workflows/ci.yml": [(" clients,", ""), (" load, hardening,", "")],
    "CONTRIBUTING.md": [(
        "`make test-containers`, `make loadtest`, `make test-faults`, `make test-attack` and `make test-template`",
        "`make test-containers` and `make test-template`",
    )],
    "Makefile": [
        (" ../loadtests", ""), (" .venv-load", ""), ("count(*) from tasks", "count(*) from idempotency_keys"),
        (" tests/services", ""), (" test-faults test-attack test-clients", ""), (" test-guide", ""),
        (" loadtest benchmark", ""), (", EXAMPLE=remove", ""),
    ],
    "README.md": [
        ("It holds one resource, tasks that belong to users, built the way every later resource should be:",
         "It is made for resources that belong to\nusers:"),
        (", with `EXAMPLE=remove` without the resource", ""),
    ],
    "SECURITY.md": [("ON tasks, idempotency_keys", "ON idempotency_keys")],
    "backend/README.md": [("`tests/services/`, `tests/core/` | the operations without HTTP;", "`tests/core/` |")],
    "backend/Dockerfile": [("Tasks over HTTP on PostgreSQL", "A service over HTTP on PostgreSQL")],
    "backend/app/main.py": [
        ("_RESOURCES = (tasks,)", "_RESOURCES: tuple[Any, ...] = ()"), ("Tasks, kept apart between users. ", ""),
        ("Tasks over HTTP on PostgreSQL.", "A service over HTTP on PostgreSQL."),
    ],
    "backend/app/models/__init__.py": [(' "Task",', "")],
    "backend/migrations/versions/20261124_create_idempotency_keys.py": [
        ('down_revision = "26a38bc0c827"', "down_revision = None"),
    ],
    "backend/pyproject.toml": [
        ('[tool.template]\n', '[tool.template]\nexample = "removed"  # so that `make update` leaves it out too\n'),
        (', "../loadtests"]', "]"), (', "loadtests"]', "]"), ("Tasks over HTTP", "A service over HTTP"),
        (" and not faults and not attack and not clients", ""), (" and not guide", ""),
    ],
    "backend/tests/core/test_ownership.py": [("len(statements) >= 10", "len(statements) >= 3")],
    "backend/tests/resources.py": [("RESOURCES = [TASKS]", "RESOURCES: list[Resource] = []")],
    "backend/tests/process/test_start.py": [
        ('("/health/ready", "/api/alice/tasks")', '("/health/ready",)'),
        ("/api/alice/tasks", "/health/live"), ("/api/{user_id}/tasks", "/health/live"),
    ],
    "backend/tests/test_requirements.py": [(", LOAD]", "]")],
    "deploy/observability/rules.test.yml": [('"/tasks"', '"/things"')],
    "docs/observability.md": [("/api/{user_id}/tasks", "/api/{user_id}/things")],
}  # fmt: skip

# On top of each page that still tells of it.
NOTE = """\
> The template built, measured and tested this with its example, tasks, which this project has left out. The code and
> the tests of it that this page names are in the repository's first commits.

"""


class ChangedError(Exception):
    """A file is not as this module knows it; the message is a sentence."""


def remove(root: Path) -> None:
    """Take the example out of the repository at this folder.

    Raises:
        ChangedError: a file has changed since; then nothing was done.
    """
    written = {path: _without(root, path) for path in sorted({*LINES, *PARAGRAPHS, *TEXTS})}
    gone = [root / path for path in REMOVED]
    for path in gone:
        if not path.exists():
            raise ChangedError(f"{path.relative_to(root)} is no longer there.")
    for path in gone:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in written.items():
        (root / name).write_text(text)
    _mend_pages(root)


def _without(root: Path, path: str) -> str:
    try:
        text = (root / path).read_text()
        for old, new in TEXTS.get(path, ()):
            text = _replaced(re.sub(r"(?<!^)\\ ", r"\\s+", re.escape(old)), new, text)
        for start in PARAGRAPHS.get(path, ()):
            text = _replaced(_paragraph(start), "", text)
        for line in LINES.get(path, ()):
            text = _replaced(rf"^(?=.*{line}).*\n", "", text)
    except FileNotFoundError:
        raise ChangedError(f"{path} is no longer there.") from None
    except ChangedError as error:
        raise ChangedError(f"{path} is no longer as it was: it has nothing like {error}.") from None
    return re.sub(r"\n{4,}", "\n\n\n", text).rstrip() + "\n"


def _paragraph(start: str) -> str:
    end = r"(?=^## |\Z)" if start.startswith("## ") else r"(?:\n\n+|\Z)"
    return rf"^{re.escape(start)}(?s:.*?){end}"


def _replaced(pattern: str, new: str, text: str) -> str:
    changed, times = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE)
    if not times:
        raise ChangedError(pattern)
    return changed


def _mend_pages(root: Path) -> None:
    """Undo the links to what is gone, and say on each page that still tells of the example that it is gone."""
    pages = [page for page in root.rglob("*.md") if not {".venv", ".git", ".data"} & set(page.relative_to(root).parts)]
    for page in pages:
        text = re.sub(r"\[([^][]*)\]\(([^):#]+)(#[^)]*)?\)", partial(_mended, page), page.read_text())
        if re.search(r"(?i)\btask", text):
            text = re.sub(r"\A(# .*\n\n)", lambda title: title[1] + NOTE, text)
        page.write_text(text)


def _mended(page: Path, link: re.Match[str]) -> str:
    return link[0] if (page.parent / link[2]).exists() else link[1]


if __name__ == "__main__":
    try:
        remove(ROOT)
    except ChangedError as error:
        print(error, file=sys.stderr)
        sys.exit(os.EX_DATAERR)
