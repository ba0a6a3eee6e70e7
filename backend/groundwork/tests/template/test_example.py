"""`make init EXAMPLE=remove`: a project without the example is whole too, and stays without it."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from groundwork.dev.example import NOTE
from groundwork.tests.process.server import free_port
from groundwork.tests.template.conftest import NAME, Repository, clone, lend_environment

# What knows no resource and takes long: it is the same in every copy.
ARGUMENTS = "-q --ignore=tests/core/test_pool.py --ignore=tests/dev/test_postgres.py --ignore=tests/deploy"


@pytest.fixture(scope="module")
def bare(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A project without the example, committed. It has this environment's packages."""
    copy = clone(template.folder, tmp_path_factory.mktemp("bare") / "project")
    done = copy.make("init", f"NAME={NAME}", "EXAMPLE=remove")
    assert "The example is removed" in done.stdout
    copy.commit("Blue Harbour, from the template")
    lend_environment(copy)
    return copy


def test_it_passes_its_own_checks(bare: Repository) -> None:
    done = bare.make("check")
    assert "Success: no issues found" in done.stdout


def test_it_passes_its_own_tests(bare: Repository) -> None:
    done = bare.make("test", f"ARGS={ARGUMENTS}", NO_CONTAINERS="1")
    summary = done.stdout.splitlines()[-1]
    assert int(re.findall(r"(\d+) passed", summary)[0]) > 500
    assert "failed" not in summary


def test_it_serves_without_the_example(bare: Repository) -> None:
    port = str(free_port())
    process = subprocess.Popen(
        ["make", "run", f"PORT={port}"], cwd=bare.folder, env={"PATH": os.environ["PATH"]}, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        ready = ["curl", "--silent", "--fail", "--retry", "60", "--retry-delay", "1", "--retry-connrefused"]
        assert json.loads(bare.run(*ready, f"{url}/health/ready").stdout) == {"status": "ok"}
        document = bare.run(*ready, f"{url}/openapi.json").stdout
        assert list(json.loads(document)["paths"]) == ["/health/live", "/health/ready"]
        assert "task" not in document.lower()
        assert bare.run("curl", "--silent", f"{url}/api/alice/tasks").stdout.count('"status": 404') == 1
    finally:
        process.terminate()
        process.wait(30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def test_nothing_speaks_of_it_that_does_not_say_that_it_is_gone(bare: Repository) -> None:
    found = bare.run("git", "grep", "-liwE", "tasks?", "--", ":!*.md", ":!*/requirements*.txt").stdout.splitlines()
    # asyncio has tasks as well, and so has Linux.
    assert not [path for path in found if not re.search("asyncio|/proc/", bare.text(path))]
    assert not [path for path in bare.files() if "task" in path]
    pages = bare.run("git", "grep", "-liE", r"\btask", "--", "*.md").stdout.splitlines()
    assert "SECURITY.md" in pages
    assert not [page for page in pages if NOTE not in bare.text(page)]


def test_every_link_of_a_page_leads_somewhere(bare: Repository) -> None:
    for page in (path for path in bare.files() if path.endswith(".md")):
        for target in re.findall(r"\]\(([^):#]+)[^):]*\)", bare.text(page)):
            assert (bare.folder / page).parent.joinpath(target).exists(), f"{target} in {page}"


def test_no_command_is_named_that_is_not_there(bare: Repository) -> None:
    targets = set(re.findall(r"^([a-z-]+):", bare.text("Makefile"), re.MULTILINE))
    named = bare.run("git", "grep", "-ohE", r"^ *(- run: )?make [a-z-]+", "--", ".ci", ".github", "README.md").stdout
    assert {line.split("make ")[1] for line in named.splitlines()} <= targets


def test_an_update_leaves_the_example_out(template: Repository, bare: Repository, tmp_path: Path) -> None:
    upstream = clone(template.folder, tmp_path / "upstream")
    project = clone(bare.folder, tmp_path / "project")
    project.change("README.md", lambda text: f"{text}\nOurs.\n")
    project.commit("Ours")
    upstream.change("backend/app/services/tasks.py", lambda text: f"{text}\n# New.\n")
    upstream.change("backend/groundwork/tests/http/test_tasks.py", lambda text: f"{text}\n# New.\n")
    upstream.change("backend/groundwork/ids.py", lambda text: f"{text}\n# New.\n")
    upstream.change("README.md", lambda text: text.replace("## A session\n", "## A session\n\nNew.\n"))
    upstream.commit("Changes in the example and beside it")

    done = project.make("update", f"TEMPLATE={upstream.folder}")

    assert "1 file changed" in done.stdout
    assert project.text("backend/groundwork/ids.py").endswith("# New.\n")
    assert not [path for path in project.files() if "task" in path]


@pytest.mark.parametrize(
    ("example", "path", "sentence"),
    [
        ("no", None, "EXAMPLE is keep"),
        ("remove", "backend/app/main.py", "backend/app/main.py is no longer as it was"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    template: Repository, tmp_path: Path, example: str, path: str | None, sentence: str
) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    if path:
        copy.change(path, lambda text: text.replace("(tasks,)", "(tasks, )"))
        copy.commit("Ours")
    done = copy.make("init", f"NAME={NAME}", f"EXAMPLE={example}", check=False)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not copy.git("status", "--porcelain")


def test_what_is_removed_is_not_removed_again(bare: Repository, tmp_path: Path) -> None:
    copy = clone(bare.folder, tmp_path / "copy")
    done = copy.make("init", "NAME=Green Harbour", "EXAMPLE=remove", check=False)
    assert "removed already" in done.stderr
    assert not copy.git("status", "--porcelain")
