"""Later changes of the template get into a project that was made from it, however the project has changed."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import pytest

from groundwork.dev.names import Names
from groundwork.dev.repository import LEFT_OUT, PROJECT, TEAM, names_in
from groundwork.tests.guide.guide import Guide
from groundwork.tests.template.conftest import NAME, Repository, clone, lend_environment
from groundwork.tests.template.domain import RESOURCES, add_domain

LIBRARY = "backend/groundwork"


@pytest.fixture
def upstream(template: Repository, tmp_path: Path) -> Repository:
    """The template, which this test may change."""
    return clone(template.folder, tmp_path / "upstream")


def cloned(upstream: Repository, folder: Path) -> Repository:
    return clone(upstream.folder, folder)


def used_as_template(upstream: Repository, folder: Path) -> Repository:
    """A copy as GitHub's button "Use this template" makes it: the same files in one commit, without the history."""
    copy = Repository(folder)
    shutil.copytree(upstream.folder, folder, ignore=shutil.ignore_patterns(".git"))
    copy.git("init", "--quiet", "--initial-branch=main")
    copy.commit("Initial commit")
    return copy


def made_from(
    upstream: Repository, folder: Path, copied: Callable[[Repository, Path], Repository] = cloned
) -> Repository:
    project = copied(upstream, folder)
    project.make("init", f"NAME={NAME}", "OWNER=Harbour Works Ltd")
    project.commit(f"{NAME}, from the template")
    return project


@pytest.fixture
def project(project: Repository, tmp_path: Path) -> Repository:
    """A clone of the template after `make init`, which this test may change."""
    return clone(project.folder, tmp_path / "project")


def update(project: Repository, upstream: Repository) -> subprocess.CompletedProcess[str]:
    return project.make("update", f"TEMPLATE={upstream.folder}")


def refused(project: Repository, upstream: Repository) -> str:
    """Run an update that must be refused. Returns its message."""
    done = project.make("update", f"TEMPLATE={upstream.folder}", check=False)
    assert done.returncode
    assert "Traceback" not in done.stderr
    return done.stderr


def release(upstream: Repository, version: str, entry: str) -> None:
    """Release a new version of the library: changed files, a new file, and a file that stays with the template."""
    upstream.change(f"{LIBRARY}/__init__.py", lambda text: re.sub('"0.+"', f'"{version}"', text))
    upstream.change(
        f"{LIBRARY}/CHANGELOG.md", lambda text: text.replace("\n## ", f"\n## {version}\n\n- {entry}\n\n## ", 1)
    )
    (upstream.folder / LIBRARY / f"new_{version.replace('.', '_')}.py").write_text(f'"""New in {version}."""\n')
    for path in LEFT_OUT:
        file = upstream.folder / path
        (file / "new.py" if file.is_dir() else file).write_text("# of the template\n")
    upstream.commit(f"groundwork {version}")


def library(repository: Repository) -> dict[str, str]:
    """The library's files with their hashes, without the files that stay with the template."""
    lines = repository.git("ls-tree", "-r", "HEAD", LIBRARY).splitlines()
    files = {line.split("\t")[1]: line.split()[2] for line in lines}
    return {path: content for path, content in files.items() if not path.startswith(f"{LIBRARY}/tests/")}


def change_everywhere(upstream: Repository) -> None:
    """Add a file, and change lines that contain the name, lines beside them, and other lines."""
    names = names_in(upstream.text(PROJECT))
    upstream.change("ARCHITECTURE.md", lambda text: f"{text}\nA new line.\n")
    upstream.change(
        "docker-compose.yml", lambda text: text.replace(f"name: {names.slug}\n", f"name: {names.slug}\n# New.\n")
    )
    upstream.change("backend/app/main.py", lambda text: text.replace('version="0.1.0"', 'version="0.2.0"'))
    upstream.change("README.md", lambda text: f"{text}\nAbout the template.\n")
    (upstream.folder / f"deploy/{names.slug}.service").write_text(
        f"Description={names.title}\nUser={names.identifier}_user\n"
    )
    upstream.commit("Changes everywhere")


@pytest.mark.parametrize("copied", [cloned, used_as_template])
def test_an_update_brings_the_changes_under_the_projects_name(
    upstream: Repository, tmp_path: Path, copied: Callable[[Repository, Path], Repository]
) -> None:
    project = made_from(upstream, tmp_path / "project", copied)
    new, old = Names.of(NAME), names_in(upstream.text(PROJECT))
    project.change("backend/app/main.py", lambda text: f"{text}\nOURS = True\n")
    project.commit("Ours")
    readme = project.text("README.md")
    change_everywhere(upstream)
    release(upstream, "0.2.0", "Answers are shorter.")

    said = update(project, upstream).stdout

    assert "groundwork 0.1.0 to 0.2.0." in said
    assert "  ## 0.2.0\n  - Answers are shorter.\n" in said
    assert "## 0.1.0" not in said
    assert said.endswith("Next:\n\n  make check test\n")
    assert not project.git("status", "--porcelain")
    assert library(project) == library(upstream)
    assert not [path for path in LEFT_OUT if (project.folder / path).exists()]
    assert project.text("README.md") == readme
    assert project.text("ARCHITECTURE.md").endswith("A new line.\n")
    assert "Harbour Works Ltd" in project.text("LICENSE")
    assert 'version="0.2.0"' in project.text("backend/app/main.py")
    assert "OURS = True" in project.text("backend/app/main.py")
    assert project.text(f"deploy/{new.slug}.service") == f"Description={NAME}\nUser={new.identifier}_user\n"
    elsewhere = ["--", ".", f":!{LIBRARY}"]
    assert not project.run("git", "grep", "--ignore-case", old.slug, *elsewhere, check=False).stdout
    assert "Nothing new" in project.make("update").stdout

    # This imitates a squashed pull request, whose commits and their parents are not in the history.
    project.git("reset", "--quiet", "--soft", "HEAD~1")
    project.commit("Update (#1)")
    release(upstream, "0.3.0", "Answers are longer.")
    upstream.change(PROJECT, lambda text: text.replace('"httptools>=0.9"', '"httptools>=0.9.1"'))
    upstream.commit("A newer httptools")
    said = update(project, upstream).stdout
    assert "groundwork 0.2.0 to 0.3.0." in said
    assert "0.2.0" not in said.partition("to 0.3.0.")[2]
    assert said.endswith("Next:\n\n  make lock\n  make check test\n")
    assert library(project) == library(upstream)


def test_an_update_can_be_reverted_and_made_again(upstream: Repository, project: Repository) -> None:
    before = library(project)
    release(upstream, "0.2.0", "Answers are shorter.")
    update(project, upstream)
    project.git("revert", "--no-edit", "HEAD")
    assert library(project) == before
    assert "groundwork 0.1.0 to 0.2.0." in update(project, upstream).stdout
    assert library(project) == library(upstream)


def test_an_edited_library_is_refused_with_names_and_the_way_out(upstream: Repository, project: Repository) -> None:
    project.change(f"{LIBRARY}/ids.py", lambda text: f"{text}\nOURS = True\n")
    (project.folder / LIBRARY / "our file.py").write_text("OURS = True\n")
    (project.folder / LIBRARY / "text.py").unlink()
    project.commit("Quickly, in the library")
    head = project.git("rev-parse", "HEAD")
    release(upstream, "0.2.0", "Answers are shorter.")

    said = refused(project, upstream)

    assert f"\n  {LIBRARY}/ids.py\n  {LIBRARY}/our file.py (added)\n" in said
    assert "text.py" not in said, "what was deleted loses no work"
    assert project.git("rev-parse", "HEAD") == head
    assert not project.git("status", "--porcelain")
    way_out = said.partition("Then:\n")[2].partition("make: ***")[0]
    project.run("sh", "-ec", way_out)
    assert library(project) == library(upstream)


def test_what_the_project_deleted_stays_deleted(upstream: Repository, project: Repository) -> None:
    project.git("rm", "-r", "--quiet", "deploy/fly", "docs/sign-in.md")
    project.git("mv", "docs/scaling.md", "docs/growth.md")
    project.commit("We are on Kubernetes")
    upstream.change("deploy/fly/fly.toml", lambda text: f"{text}# new\n")
    (upstream.folder / "deploy/fly/new.toml").write_text("new = true\n")
    upstream.change("docs/sign-in.md", lambda text: f"{text}\nNew.\n")
    upstream.change("docs/scaling.md", lambda text: f"{text}\nNew.\n")
    upstream.commit("Fly")

    said = update(project, upstream).stdout

    listed = ["deploy/fly/fly.toml", "deploy/fly/new.toml", "docs/scaling.md", "docs/sign-in.md"]
    heading = "Not brought, because this project has deleted or moved the file or its folder:"
    assert f"{heading}\n" + "".join(f"  {path}\n" for path in listed) in said
    assert not [path for path in listed if (project.folder / path).exists()]


def test_what_was_deleted_from_the_library_comes_back_by_name(upstream: Repository, project: Repository) -> None:
    project.git("rm", "--quiet", f"{LIBRARY}/text.py", f"{LIBRARY}/ids.py")
    project.commit("Not needed")
    upstream.git("rm", "--quiet", f"{LIBRARY}/ids.py")
    release(upstream, "0.2.0", "Answers are shorter.")
    said = update(project, upstream).stdout
    heading = f"This project has deleted these files. They come back, because {LIBRARY} is replaced whole:"
    assert f"{heading}\n  {LIBRARY}/text.py\n\n" in said
    assert library(project) == library(upstream)


def test_files_in_the_way_are_named_before_anything_is_changed(upstream: Repository, project: Repository) -> None:
    (upstream.folder / "docs/growth").mkdir()
    for path in ("docs/growth/pages.md", "docs/new.md", "docs/other.md"):
        (upstream.folder / path).write_text("The template's.\n")
    release(upstream, "0.2.0", "Answers are shorter.")
    mine = ["docs/growth", "docs/new.md"]
    for path in mine:
        (project.folder / path).write_text("Mine.\n")
    head = project.git("rev-parse", "HEAD")

    said = refused(project, upstream)

    assert "new files where you have files that git does not know" in said
    assert "\n\n  docs/growth\n  docs/new.md\nmake:" in said
    assert project.git("rev-parse", "HEAD") == head
    assert not project.git("status", "--porcelain", "--untracked-files=no")
    for path in mine:
        assert project.text(path) == "Mine.\n"
        (project.folder / path).unlink()
    assert "Merged: " in update(project, upstream).stdout


def test_a_copy_that_has_no_name_of_its_own_is_told_to_take_one(upstream: Repository, tmp_path: Path) -> None:
    copy = clone(upstream.folder, tmp_path / "copy")
    release(upstream, "0.2.0", "Answers are shorter.")
    head = copy.git("rev-parse", "HEAD")
    assert "Give it a name first: make init NAME=" in refused(copy, upstream)
    assert copy.git("rev-parse", "HEAD") == head


def test_a_file_that_the_template_moved_is_named_with_its_new_place(upstream: Repository, project: Repository) -> None:
    project.change("docs/scaling.md", lambda text: f"{text}\nOurs.\n")
    project.commit("Ours")
    upstream.git("mv", "docs/scaling.md", "docs/growth.md")
    upstream.commit("Another title")
    said = refused(project, upstream)
    assert "docs/scaling.md:\n  You have changed it. The template has moved it to docs/growth.md" in said
    assert "An update is not finished" in refused(project, upstream)
    project.git("cherry-pick", "--abort")
    assert project.text("docs/scaling.md").endswith("Ours.\n")
    assert not (project.folder / ".template").exists()


def test_a_domain_of_its_own_goes_through_an_update(upstream: Repository, project: Repository) -> None:
    own = add_domain(project)
    assert sum(len(project.text(path).splitlines()) for path in own) > 1500
    before = {path: project.text(path) for path in [*own, "README.md", "backend/app/core/config.py"]}

    release(upstream, "0.2.0", "Answers are shorter.")
    upstream.change(f"{LIBRARY}/ids.py", lambda text: f"{text}\nNEW = True\n")
    upstream.change("docs/sign-in.md", lambda text: f"{text}\nNew.\n")
    upstream.change("README.md", lambda text: f"{text}\nAbout the template.\n")
    upstream.change("Makefile", lambda text: text.replace("mend what the linter can", "mend what ruff can"))
    upstream.change("docker-compose.yml", lambda text: f"{text}# new\n")
    upstream.change(
        "backend/app/main.py",
        lambda text: text.replace("            tasks,\n", "            users,\n            tasks,\n").replace(
            "0.1.0", "0.2.0"
        ),
    )
    upstream.change("backend/requirements.txt", lambda text: f"{text}added==1.0 \\\n    --hash=sha256:{'1' * 64}\n")
    upstream.commit("A year of work")

    said = refused(project, upstream)

    conflicts = project.git("diff", "--name-only", "--diff-filter=U").splitlines()
    assert conflicts == ["Makefile", "backend/app/main.py", "backend/requirements.txt"]
    for path in conflicts:
        assert f"\n{path}:\n  " in said
    assert "git checkout --theirs -- backend/requirements.txt" in said
    assert "To go back to where you were: git cherry-pick --abort" in said
    assert "After that: make lock" in said

    project.git("checkout", "--ours", "--", "Makefile", "backend/app/main.py")
    project.git("checkout", "--theirs", "--", "backend/requirements.txt")
    project.git("add", *conflicts)
    project.run("git", "cherry-pick", "--continue", GIT_EDITOR="true")

    assert library(project) == library(upstream)
    assert {path: project.text(path) for path in before} == before
    assert "image: postgres:18" in project.text("docker-compose.yml")
    assert project.text("docker-compose.yml").endswith("# new\n")
    assert project.text("docs/sign-in.md").endswith("New.\n")
    assert "added==1.0" in project.text("backend/requirements.txt")
    assert '"stripe>=12"' in project.text(PROJECT)
    assert "Nothing new" in project.make("update").stdout


def test_the_domain_of_that_test_is_a_service_that_works(project: Repository) -> None:
    add_domain(project)
    program = (
        "import json; from app.core.config import Settings; from app.main import create_app;"
        "print(json.dumps(sorted(create_app(Settings(database_url='postgresql://u@h/d')).openapi()['paths'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project.folder / "backend", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = json.loads(done.stdout)
    assert [many for _, many in RESOURCES if f"/api/{{user_id}}/{many}" not in paths] == []


def test_an_example_that_was_removed_is_not_missed(upstream: Repository, tmp_path: Path) -> None:
    project = clone(upstream.folder, tmp_path / "project")
    project.make("init", f"NAME={NAME}", "EXAMPLE=remove")
    project.commit(f"{NAME}, without the example")
    upstream.change("backend/app/models/task.py", lambda text: f"{text}\nNEW = True\n")
    upstream.change("backend/app/main.py", lambda text: text.replace('version="0.1.0"', 'version="0.2.0"'))
    upstream.commit("Tasks are better")
    assert "task" not in update(project, upstream).stdout
    assert 'version="0.2.0"' in project.text("backend/app/main.py")
    assert not (project.folder / "backend/app/models/task.py").exists()


def test_a_project_without_the_folder_gets_everything_else(upstream: Repository, project: Repository) -> None:
    """Such a project has the library as a package, and so the command too."""
    project.git("rm", "-r", "--quiet", LIBRARY)
    project.commit("groundwork is a package now")
    upstream.change("docs/sign-in.md", lambda text: f"{text}\nNew.\n")
    release(upstream, "0.2.0", "Answers are shorter.")
    program = [sys.executable, "-m", "groundwork.dev.update"]
    done = subprocess.run(
        program,
        cwd=project.folder / "backend",
        env={**project.variables(), "PYTHONPATH": str(upstream.folder / "backend"), "TEMPLATE": str(upstream.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Not brought" not in done.stdout
    assert "groundwork" not in done.stdout.partition("\n")[2]
    assert not library(project)
    assert project.text("docs/sign-in.md").endswith("New.\n")


def test_a_project_of_unknown_origin_names_its_commit_once(upstream: Repository, tmp_path: Path) -> None:
    base = upstream.git("rev-parse", "HEAD")
    project = made_from(upstream, tmp_path / "project")
    shutil.rmtree(project.folder / ".git")
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit("Everything at once")
    release(upstream, "0.2.0", "Answers are shorter.")
    said = refused(project, upstream)
    assert "make update FROM=COMMIT" in said
    assert (
        "FROM: 0123 is none of the template's commits: give the one"
        in project.make("update", "FROM=0123", check=False).stderr
    )
    assert "Merged: " in project.make("update", f"FROM={base[:10]}").stdout
    assert library(project) == library(upstream)


@pytest.mark.parametrize(("address", "sentence"), [("", "make update TEMPLATE="), ("/nowhere", "could not be fetched")])
def test_a_template_that_is_not_there_is_said_in_a_line(project: Repository, address: str, sentence: str) -> None:
    done = project.make("update", f"TEMPLATE={address}", check=False)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


TEAMS_ROUTE = '''\
"""Orders, of which there are too many."""

from fastapi import Request, status

from app.core.errors import TooManyOrders
from app.core.metrics import ORDERS_REFUSED
from groundwork.errors import Conflict
from groundwork.http.problems import problem_responses
from groundwork.http.routing import UserId, router_of

router = router_of("orders")


@router.post("", status_code=status.HTTP_201_CREATED, responses=problem_responses(Conflict, TooManyOrders))
async def create_order(user_id: UserId, request: Request) -> int:
    """Create an order."""
    ORDERS_REFUSED.inc()
    raise TooManyOrders(request.app.state.reports.submit(lambda: "Too many.").result())
'''
TEAMS_METRICS = """\
from groundwork.observe.custom_metrics import counter

ORDERS_REFUSED = counter("orders_refused_total", "Orders that were one too many.")
"""
TEAMS_TEST = '''\
"""What the team has of its own."""

import httpx

from app.core.config import Settings
from app.core.errors import TooManyOrders
from app.core.metrics import ORDERS_REFUSED
from groundwork.observe.custom_metrics import declared
from groundwork.serve.application import Application
from groundwork.testing.http import assert_problem


async def test_all_five(client: httpx.AsyncClient, app: Application, settings: Settings) -> None:
    assert settings.open_orders == 100
    assert ORDERS_REFUSED in declared()
    problem = assert_problem(await client.post("/api/alice/orders"), 409, TooManyOrders)
    assert problem["title"] == "Too many orders"
    assert problem["detail"] == "Too many."
    document = await client.get("/openapi.json")
    assert document.headers["content-encoding"] == "gzip"
    example = document.json()["components"]["examples"]["TooManyOrders"]["value"]
    assert (example["type"], example["title"]) == (TooManyOrders.type, TooManyOrders.title)
'''


def test_what_is_the_teams_own_is_untouched_and_works_after_an_update(
    upstream: Repository, project: Repository
) -> None:
    """The team's code is that of the page. The template changes the same places and makes the same files."""
    page = Guide(upstream.folder / LIBRARY / "docs/team.md")
    for copy in (project, upstream):
        page.apply(copy.folder)
        (copy.folder / "backend/app/core/metrics.py").write_text(TEAMS_METRICS)
    (project.folder / "backend/app/routes/orders.py").write_text(TEAMS_ROUTE)
    (project.folder / "backend/tests/test_team.py").write_text(TEAMS_TEST)
    project.change(
        "backend/app/main.py",
        lambda text: text.replace(
            "from app.routes.tasks", "from app.routes.orders import router as orders\nfrom app.routes.tasks"
        ).replace("            tasks,\n", "            tasks,\n            orders,\n"),
    )
    project.commit("What is ours")
    own = {path: project.text(path) for path in TEAM}

    theirs = {"order": "item", "Order": "Item", "report": "page", '"version": "0.': '"version": "9.'}
    for path in own:
        upstream.change(path, lambda text: reduce(lambda text, word: text.replace(word, theirs[word]), theirs, text))
    upstream.change("backend/app/main.py", lambda text: text.replace('version="0.1.0"', 'version="0.2.0"'))
    release(upstream, "0.2.0", "Answers are shorter.")
    said = update(project, upstream).stdout

    assert {path: project.text(path) for path in own} == own
    assert 'version="0.2.0"' in project.text("backend/app/main.py")
    assert "these files are the team's own" in said
    shown = re.search(r"^  (git diff \w+ \w+ -- .*)$", said, re.MULTILINE)
    assert shown
    assert "+    open_items: int" in project.run("sh", "-c", shown[1]).stdout
    lend_environment(project)
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pytest", "-q", "tests/test_team.py"]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=project.folder / "backend",
            env={**project.variables(), "NO_CONTAINERS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_for_the_team_comes_to_a_project_that_never_had_it(upstream: Repository, tmp_path: Path) -> None:
    main, extensions = "backend/app/main.py", "backend/app/extensions.py"
    later = {path: upstream.text(path) for path in (main, extensions)}
    upstream.git("rm", "--quiet", extensions)
    upstream.change(main, lambda text: text.replace("from app.extensions import MIDDLEWARE, lifespan\n", ""))
    upstream.commit("As it was")
    project = made_from(upstream, tmp_path / "project")
    for path, text in later.items():
        (upstream.folder / path).write_text(text)
    upstream.commit("Room for the team")
    update(project, upstream)
    assert project.text(extensions) == later[extensions]
    project.git("rm", "--quiet", extensions)
    project.commit("Not needed")
    upstream.change(extensions, lambda text: f"{text}\nNEW = True\n")
    upstream.commit("More room")
    assert f"Not brought, because this project has deleted or moved the file or its folder:\n  {extensions}" in (
        update(project, upstream).stdout
    )
