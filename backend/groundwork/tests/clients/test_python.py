"""The Python client of `make clients` against the real service: its functions and helpers, sync and async."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from groundwork.dev.build_clients import build_python
from groundwork.dev.names import Names
from groundwork.tests import nginx
from groundwork.tests.clients import example, run
from groundwork.tests.clients.losing_proxy import losing_proxy
from groundwork.tests.process.server import Server, running

USER = "a/b c"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), DATABASE_URL=module_database) as server:
        yield server


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `tasks_api_client`."""
    folder = tmp_path_factory.mktemp("python")
    build_python(Names.of("Tasks API"), "1.2.3", folder)
    return folder


@pytest.fixture
def tasks(generated: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[Any]:
    """The package's operations, models and helpers, and a client of the service."""
    monkeypatch.syspath_prepend(generated)
    names = ("list_tasks", "create_task", "get_task", "update_task", "toggle_task", "delete_task")
    package = importlib.import_module("tasks_api_client")
    parts = {name: importlib.import_module(f"tasks_api_client.api.tasks.{name}") for name in names}
    helpers, models = (importlib.import_module(f"tasks_api_client.{name}") for name in ("helpers", "models"))
    with package.Client(base_url=server.url) as client:
        yield SimpleNamespace(**parts, **vars(models), helpers=helpers, client=client, Client=package.Client)
    for name in [name for name in sys.modules if name.split(".")[0] == "tasks_api_client"]:
        del sys.modules[name]


def run_module(folder: Path, *module: str) -> None:
    """Run `python -m` with the module in the folder. PATH has Python's folder, because the generator calls ruff."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run(folder, sys.executable, "-m", *module, PATH=path)


USE = """
from collections.abc import Iterator
from uuid import UUID

from tasks_api_client import Client
from tasks_api_client.api.tasks import create_task, get_task, list_tasks, update_task
from tasks_api_client.helpers import create, items, update
from tasks_api_client.models import TaskCreate, TaskRead, TaskUpdate

client = Client(base_url="http://127.0.0.1:8000")


def rows() -> Iterator[TaskRead]:
    return items(lambda cursor: list_tasks.sync_detailed("alice", client=client, limit=100, cursor=cursor))


def made() -> TaskRead:
    task = TaskCreate(title="Buy milk")
    return create(
        lambda key: create_task.sync_detailed("alice", client=client, body=task, idempotency_key=key)
    )


def renamed(id: UUID) -> TaskRead:
    return update(
        lambda: get_task.sync_detailed("alice", id, client=client),
        lambda task, tag: update_task.sync_detailed(
            "alice", id, client=client, body=TaskUpdate(title=f"{task.title}!"), if_match=tag
        ),
    )
"""


def test_the_helpers_have_types(generated: Path) -> None:
    # mypy reports errors in these two files only, because the generated code has errors of its own.
    (generated / "use.py").write_text(USE)
    helpers = "tasks_api_client/helpers.py"
    run_module(generated, "mypy", "--strict", "--follow-imports=silent", "use.py", helpers)
    run_module(generated, "ruff", "check", helpers)
    run_module(generated, "ruff", "format", "--check", helpers)


def test_the_package_has_the_name_and_the_version(generated: Path) -> None:
    project = (generated / "pyproject.toml").read_text()
    assert 'name = "tasks-api-client"' in project
    assert 'version = "1.2.3"' in project


def create(tasks: Any, user: str, title: str, client: Any = None) -> Any:
    body, client = tasks.TaskCreate(title=title), client or tasks.client
    return tasks.helpers.create(
        lambda key: tasks.create_task.sync_detailed(user, client=client, body=body, idempotency_key=key)
    )


def titles(tasks: Any, user: str) -> list[str]:
    rows = tasks.helpers.items(
        lambda cursor: tasks.list_tasks.sync_detailed(user, client=tasks.client, limit=2, cursor=cursor)
    )
    return [row.title for row in rows]


def test_every_operation_can_be_called(tasks: Any) -> None:
    task = create(tasks, "operations", "Buy milk")
    assert (task.title, task.description, task.completed) == ("Buy milk", None, False)
    for number in range(4):
        create(tasks, "operations", str(number))
    assert titles(tasks, "operations") == ["3", "2", "1", "0", "Buy milk"]

    one = {"user_id": "operations", "task_id": task.id, "client": tasks.client}
    tag = tasks.get_task.sync_detailed(**one).headers["ETag"]
    kept = tasks.get_task.sync_detailed(**one, if_none_match=tag)
    assert (kept.status_code, kept.parsed) == (304, None)
    assert tasks.toggle_task.sync(**one).completed
    stale = tasks.delete_task.sync_detailed(**one, if_match=tag)
    assert (stale.status_code, stale.parsed.title) == (412, "Precondition Failed")
    assert tasks.delete_task.sync(**one).message == "Task deleted successfully"
    with pytest.raises(tasks.helpers.ApiError) as missing:
        tasks.helpers.data_of(tasks.get_task.sync_detailed(**one))
    assert (missing.value.problem.status, missing.value.problem.title) == (404, "Not Found")
    with pytest.raises(tasks.helpers.ApiError) as refused:
        create(tasks, "operations", " ")
    assert refused.value.problem.errors[0].loc == ["body", "title"]


def test_a_create_whose_answer_is_lost_makes_one_row(tasks: Any, server: Server) -> None:
    with losing_proxy(server.url) as url, tasks.Client(base_url=url) as client:
        assert create(tasks, "lost", "Buy milk", client).title == "Buy milk"
    assert titles(tasks, "lost") == ["Buy milk"]


async def test_the_helpers_for_asyncio(tasks: Any, server: Server) -> None:
    helpers, body = tasks.helpers, tasks.TaskCreate(title="Buy milk")
    with losing_proxy(server.url) as url:
        async with tasks.Client(base_url=url) as client:
            one = {"user_id": USER, "client": client}
            task = await helpers.create_async(
                lambda key: tasks.create_task.asyncio_detailed(**one, body=body, idempotency_key=key)
            )
            for number in range(4):
                await tasks.create_task.asyncio(**one, body=tasks.TaskCreate(title=str(number)))
            rows = helpers.items_async(lambda cursor: tasks.list_tasks.asyncio_detailed(**one, limit=2, cursor=cursor))
            assert [row.title async for row in rows] == ["3", "2", "1", "0", "Buy milk"]
            rivals = [tasks.TaskUpdate(title="Buy oat milk")]

            async def write(read: Any, tag: str) -> Any:
                if rivals:
                    await tasks.update_task.asyncio(**one, task_id=task.id, body=rivals.pop())
                change = tasks.TaskUpdate(title=f"{read.title}!")
                return await tasks.update_task.asyncio_detailed(**one, task_id=task.id, body=change, if_match=tag)

            changed = await helpers.update_async(lambda: tasks.get_task.asyncio_detailed(**one, task_id=task.id), write)
            assert changed.title == "Buy oat milk!"


def change_task(tasks: Any, task: Any, change: Any, client: Any = None) -> Any:
    one = {"user_id": USER, "task_id": task.id, "client": client or tasks.client}
    return tasks.helpers.update(
        lambda: tasks.get_task.sync_detailed(**one),
        lambda read, tag: tasks.update_task.sync_detailed(**one, body=change(read), if_match=tag),
    )


def test_a_change_is_made_again_when_somebody_else_was_faster(tasks: Any) -> None:
    task = create(tasks, USER, "Buy milk")
    rivals = [tasks.TaskUpdate(title="Buy oat milk", description="Two litres")]

    def change(read: Any) -> Any:
        if rivals:
            tasks.update_task.sync(USER, task.id, client=tasks.client, body=rivals.pop())
        return tasks.TaskUpdate(title=f"{read.title}!", description=None)

    changed = change_task(tasks, task, change)
    assert (changed.title, changed.description) == ("Buy oat milk!", None)


def weaken(answer: httpx.Response) -> None:
    """Weaken the tag of an answer, as nginx does when it compresses the answer."""
    if "ETag" in answer.headers:
        answer.headers["ETag"] = f"W/{answer.headers['ETag']}"


def lose(answer: httpx.Response) -> None:
    """Remove the tag of an answer, as older proxies do."""
    answer.headers.pop("ETag", None)


def client_through(tasks: Any, change: Any) -> Any:
    return tasks.Client(base_url=tasks.client._base_url, httpx_args={"event_hooks": {"response": [change]}})


def test_a_change_ends_where_a_proxy_weakens_tags(tasks: Any) -> None:
    with client_through(tasks, weaken) as client:
        assert_ends(tasks, create(tasks, USER, "Buy milk"), client)


def test_a_change_ends_where_a_proxy_loses_tags(tasks: Any) -> None:
    task = create(tasks, USER, "Buy milk")
    with client_through(tasks, lose) as client, pytest.raises(RuntimeError, match="no ETag"):
        change_task(tasks, task, lambda read: tasks.TaskUpdate(title="x"), client)


@pytest.mark.skipif(not nginx.is_installed(), reason=nginx.MISSING)
@pytest.mark.parametrize("as_the_page_says", [False, True])
def test_a_change_behind_nginx_that_compresses(
    tasks: Any, server: Server, tmp_path: Path, as_the_page_says: bool
) -> None:
    location = example("nginx", server.url)
    if not as_the_page_says:
        location = location.replace("gzip off;", "")
    compressing = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types application/json;"
    with nginx.running_nginx(tmp_path, f"{compressing}\n{location}") as url, tasks.Client(base_url=url) as client:
        task = create(tasks, USER, "Buy milk")
        if as_the_page_says:
            assert change_task(tasks, task, lambda read: tasks.TaskUpdate(title="x"), client).title == "x"
        else:
            assert_ends(tasks, task, client)


def assert_ends(tasks: Any, task: Any, client: Any) -> None:
    """Check that the helper ends after its attempts, with the service's message about the tag."""
    seen = []

    def change(read: Any) -> Any:
        seen.append(read)
        return tasks.TaskUpdate(title="x")

    with pytest.raises(tasks.helpers.ApiError, match="A proxy that compresses answers changes their tags"):
        change_task(tasks, task, change, client)
    assert len(seen) == tasks.helpers.ATTEMPTS
