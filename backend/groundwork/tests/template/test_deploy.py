"""`make init DEPLOY="vm fly"`: a project with few targets is complete, and updates add no others."""

import re
from pathlib import Path

import pytest

from groundwork.dev.repository import PROJECT
from groundwork.dev.targets import ALWAYS
from groundwork.tests.template.conftest import NAME, Repository, broken_links, clone

# Replaces each program that .ci/check runs. It fails if one of its arguments is a missing file of deploy/.
STUB = """\
#!/bin/sh
for each; do case "$each" in ../deploy/*) [ -e "$each" ] || { echo "$each" >&2; exit 9; };; esac; done
case "$0 $*" in
  */gitleaks*stdin*) exit 1;;
  */python*groundwork.dev.__path__*) echo groundwork/dev;;
esac
"""
PROGRAMS = (
    "ruff mypy lint-imports python shellcheck hadolint check-jsonschema kubectl kubernetes-validate promtool caddy"
    " jactionlint zizmor gitleaks"
)


@pytest.fixture(scope="session")
def few(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A project that keeps two targets."""
    return made(template, tmp_path_factory.mktemp("few") / "project", "DEPLOY=vm fly")


def made(template: Repository, folder: Path, *arguments: str) -> Repository:
    copy = clone(template.folder, folder)
    copy.make("init", f"NAME={NAME}", *arguments)
    copy.commit(f"{NAME}, from the template")
    return copy


def targets(copy: Repository) -> set[str]:
    return {path.split("/")[1] for path in copy.files() if path.startswith("deploy/") and path.count("/") > 1}


def test_only_the_named_targets_stay(few: Repository) -> None:
    assert targets(few) - ALWAYS == {"vm", "fly"}
    assert "observability" in targets(few)


def test_every_link_leads_somewhere(few: Repository) -> None:
    assert broken_links(few) == []


def test_the_tables_have_the_rows_of_these_targets(few: Repository) -> None:
    rows = re.findall(r"^\| \[(\S+)\]\((?:\S+)\)", few.text("deploy/README.md"), re.MULTILINE)
    assert set(rows) == {"vm", "fly"}
    assert rows.count("vm") == 2
    # A link in a sentence is replaced by its text.
    assert "deploy/kubernetes" in few.text("docs/scaling.md")


def test_what_make_check_looks_at_is_there(few: Repository, tmp_path: Path) -> None:
    for name in PROGRAMS.split():
        (tmp_path / name).write_text(STUB)
        (tmp_path / name).chmod(0o755)
    done = few.run(".ci/check", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert "Everything holds." in done.stdout


@pytest.mark.parametrize("example", ["keep", "remove"])
def test_an_update_leaves_the_others_out(template: Repository, tmp_path: Path, example: str) -> None:
    upstream = clone(template.folder, tmp_path / "upstream")
    project = made(template, tmp_path / "project", "DEPLOY=vm fly", f"EXAMPLE={example}")
    before = project.text("deploy/README.md")
    (upstream.folder / "deploy/new").mkdir()
    for path in ("deploy/new/README.md", "deploy/aws/new.yaml", "deploy/fly/new.toml"):
        (upstream.folder / path).write_text("# New.\n")
    for path in ("deploy/aws/README.md", "deploy/fly/README.md"):
        upstream.change(path, lambda text: f"{text}\nNew.\n")
    upstream.change(
        "deploy/README.md",
        lambda text: re.sub(
            r"^(\| \[aws\]\S+ \| )(.*\n)",
            r"\1Changed. \2| [new](new/README.md) | a | b |\n",
            text,
            flags=re.MULTILINE,
        ),
    )
    upstream.commit("A new target, and changes in others")

    said = project.make("update", f"TEMPLATE={upstream.folder}").stdout

    assert "Not brought" not in said
    changed = project.git("diff", "--name-only", "HEAD^").splitlines()
    assert changed == [".template", "deploy/fly/README.md", "deploy/fly/new.toml"]
    assert project.text("deploy/README.md") == before
    assert broken_links(project) == []


def test_a_project_can_leave_out_more_later_and_files_that_git_does_not_know_stay(
    few: Repository, tmp_path: Path
) -> None:
    copy = clone(few.folder, tmp_path / "copy")
    secrets = copy.folder / "deploy/fly/secrets.env"
    secrets.write_text("Mine.\n")
    said = copy.make("init", f"NAME={NAME}", "DEPLOY=vm").stdout
    assert "Kept of deploy/: vm, and what belongs to no target." in said
    copy.git("add", "--update")
    assert targets(copy) - ALWAYS == {"vm"}
    assert secrets.read_text() == "Mine.\n"
    assert re.findall(r"^deploy = .*", copy.text(PROJECT), re.MULTILINE) == [
        'deploy = ["vm"]  # of deploy/, so that `make update` leaves the others out too'
    ]


@pytest.mark.parametrize("deploy", ["vm mars", "observability", "README.md", ".."])
def test_a_target_that_is_not_there_is_refused(template: Repository, tmp_path: Path, deploy: str) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    done = copy.make("init", f"NAME={NAME}", f"DEPLOY={deploy}", check=False)
    assert (
        f"DEPLOY: there is no deploy/{deploy.rsplit(maxsplit=1)[-1]}. Name one or more of aws, azure, " in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not copy.git("status", "--porcelain")
