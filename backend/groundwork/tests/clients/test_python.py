"""openapi-python-client, and the Python example of docs/clients.md."""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from groundwork.tests import nginx
from groundwork.tests.clients import example, run
from groundwork.tests.process.server import Server, running

USER = "a/b c"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, module_database: str) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), DATABASE_URL=module_database) as server:
        yield server


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Path:
    """A folder with the package `tasks_api_client` and the module `tasks`, which is the example."""
    folder = tmp_path_factory.mktemp("python")
    run_module(folder, "openapi_python_client", "generate", "--url", f"{server.url}/openapi.json", "--meta", "none",
        "--output-path", "tasks_api_client", "--fail-on-warning")  # fmt: skip
    (folder / "tasks.py").write_text(example("python", server.url))
    return folder


@pytest.fixture
def tasks(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example, imported."""
    monkeypatch.syspath_prepend(generated)
    tasks = importlib.import_module("tasks")
    with tasks.client:
        yield tasks
    for name in [name for name in sys.modules if name.split(".")[0] in {"tasks_api_client", "tasks"}]:
        del sys.modules[name]


def run_module(folder: Path, *module: str) -> None:
    """`python -m` the module, in the folder. The generator formats what it wrote with ruff, from where Python is."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run(folder, sys.executable, "-m", *module, PATH=path)


def test_the_example_has_types(generated: Path) -> None:
    # Errors in the example only: what the generator writes around each client holds some of its own.
    run_module(generated, "mypy", "--strict", "--follow-imports=silent", "tasks.py")


def test_every_operation_can_be_called(tasks: Any) -> None:
    models, api = tasks.create_task.TaskCreate, importlib.import_module("tasks_api_client.api.tasks")
    for name in ("delete_task", "toggle_task"):
        importlib.import_module(f"{api.__name__}.{name}")

    key = uuid4()
    task = tasks.create_once(USER, models(title="Buy milk"), key)
    assert tasks.create_once(USER, models(title="Buy milk"), key) == task
    assert (task.title, task.description, task.completed) == ("Buy milk", None, False)
    for number in range(100):
        tasks.create_once(USER, models(title=str(number)))
    assert [each.title for each in tasks.all_tasks(USER)] == [*map(str, reversed(range(100))), "Buy milk"]

    one = {"user_id": USER, "task_id": task.id, "client": tasks.client}
    tag = tasks.get_task.sync_detailed(**one).headers["ETag"]
    kept = tasks.get_task.sync_detailed(**one, if_none_match=tag)
    assert (kept.status_code, kept.parsed) == (304, None)
    assert api.toggle_task.sync(**one).completed
    stale = api.delete_task.sync_detailed(**one, if_match=tag)
    assert (stale.status_code, stale.parsed.title) == (412, "Precondition Failed")
    assert api.delete_task.sync(**one).message == "Task deleted successfully"
    missing = tasks.get_task.sync(**one)
    assert (missing.status, missing.title) == (404, "Not Found")


def test_a_change_is_made_again_when_somebody_else_was_faster(tasks: Any) -> None:
    task = tasks.create_once(USER, tasks.TaskCreate(title="Buy milk", description="Two litres"))
    rivals = [tasks.TaskUpdate(title="Buy oat milk")]

    def change(read: Any) -> Any:
        if rivals:
            tasks.update_task.sync(USER, task.id, client=tasks.client, body=rivals.pop())
        return tasks.TaskUpdate(title=f"{read.title}!", description=None)

    changed = tasks.change_task(USER, task.id, change)
    assert (changed.title, changed.description) == ("Buy oat milk!", None)


def weaken(answer: httpx.Response) -> None:
    """What nginx does to the tag of an answer that it compresses."""
    if "ETag" in answer.headers:
        answer.headers["ETag"] = f"W/{answer.headers['ETag']}"


def lose(answer: httpx.Response) -> None:
    """What older proxies do to it."""
    answer.headers.pop("ETag", None)


def client_through(tasks: Any, change: Any) -> Any:
    return tasks.Client(base_url=tasks.client._base_url, httpx_args={"event_hooks": {"response": [change]}})


def test_a_change_ends_where_a_proxy_weakens_tags(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.create_once(USER, tasks.TaskCreate(title="Buy milk"))
    with client_through(tasks, weaken) as client:
        monkeypatch.setattr(tasks, "client", client)
        assert_ends(tasks, task)


def test_a_change_ends_where_a_proxy_loses_tags(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.create_once(USER, tasks.TaskCreate(title="Buy milk"))
    with client_through(tasks, lose) as client:
        monkeypatch.setattr(tasks, "client", client)
        with pytest.raises(RuntimeError, match="no ETag"):
            tasks.change_task(USER, task.id, lambda read: tasks.TaskUpdate(title="x"))


@pytest.mark.skipif(not nginx.is_installed(), reason=nginx.MISSING)
@pytest.mark.parametrize("as_the_page_says", [False, True])
def test_a_change_behind_nginx_that_compresses(
    tasks: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_the_page_says: bool
) -> None:
    location = example("nginx", server.url)
    if not as_the_page_says:
        location = location.replace("gzip off;", "")
    compressing = "gzip on; gzip_proxied any; gzip_min_length 0; gzip_types application/json;"
    with nginx.running_nginx(tmp_path, f"{compressing}\n{location}") as url, tasks.Client(base_url=url) as client:
        monkeypatch.setattr(tasks, "client", client)
        task = tasks.create_once(USER, tasks.TaskCreate(title="Buy milk"))
        if as_the_page_says:
            assert tasks.change_task(USER, task.id, lambda read: tasks.TaskUpdate(title="x")).title == "x"
        else:
            assert_ends(tasks, task)


def assert_ends(tasks: Any, task: Any) -> None:
    """After as many attempts as the example makes, with what the service says of the tag."""
    seen = []

    def change(read: Any) -> Any:
        seen.append(read)
        assert len(seen) <= 5
        return tasks.TaskUpdate(title="x")

    with pytest.raises(tasks.ApiError, match="A proxy that compresses answers changes their tags"):
        tasks.change_task(USER, task.id, change)
    assert [read.title for read in seen] == ["Buy milk"] * 5


def test_what_is_refused_says_where(tasks: Any) -> None:
    with pytest.raises(tasks.ApiError, match="title: ") as refused:
        tasks.create_once(USER, tasks.TaskCreate(title=" "))
    [rejected] = refused.value.answer.parsed.errors
    assert rejected.loc == ["body", "title"]
