"""`make init` makes a copy a project of its own, complete and without the files that only the template needs."""

import json
import re
import shutil
from pathlib import Path

import pytest

from groundwork.dev.names import Names
from groundwork.dev.repository import FOUNDATION, LEFT_OUT, PROJECT, names_in
from groundwork.tests.template.conftest import NAME, OWNER, Repository, broken_links, clone, served

NEW = Names.of(NAME)
# The limits of files and lines. A team keeps only those parts of deploy/ that it uses.
MOST = {"deploy/": (110, 6_610), "": (99, 9_900)}


@pytest.fixture(scope="session")
def old(template: Repository) -> Names:
    return names_in(template.text(PROJECT))


def test_nothing_of_the_old_name_is_left(either: Repository, old: Names) -> None:
    for _, form in old.forms():
        assert not either.run("git", "grep", "--ignore-case", form, check=False).stdout
        assert not [path for path in either.files() if form.lower() in path.lower()]


def test_it_says_what_it_took_out_and_what_is_left_to_write(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    said = copy.make("init", f"NAME={NAME}").stdout
    for path in ("README.md", "SECURITY.md", "backend/app/main.py", "LICENSE"):
        assert f"\n  {path} " in said.partition("Yours to write:")[2]
    assert [path for path in LEFT_OUT if path not in said] == []
    assert "still the template's authors, because no OWNER= was given" in said
    assert len(said.splitlines()) < 40

    # What was written is not asked for again, and nothing is taken out twice.
    copy.change("backend/app/main.py", lambda text: re.sub('summary=".*"', 'summary="Ours."', text))
    copy.commit("Ours")
    said = copy.make("init", "NAME=Green Harbour", f"OWNER={OWNER}").stdout
    assert "SECURITY.md" in said
    assert "main.py" not in said
    assert "LICENSE" not in said
    assert "Taken out" not in said


def test_the_new_name_and_holder_stand_where_people_look(project: Repository) -> None:
    assert project.text("README.md").startswith(f"# {NAME}\n")
    assert f'description = "{NAME}: ' in project.text(PROJECT)
    assert "## 0.1.0, unreleased" in project.text("CHANGELOG.md")
    assert OWNER in project.text("LICENSE").splitlines()[2]
    assert f'title="{NAME}"' in project.text("backend/app/main.py")
    assert f"\nname: {NEW.slug}\n" in project.text("docker-compose.yml")


def test_the_foundation_is_the_templates_without_its_tests(template: Repository, either: Repository) -> None:
    def foundation(repository: Repository) -> list[str]:
        lines = repository.git("ls-files", "--stage", FOUNDATION).splitlines()
        return [line for line in lines if f"{FOUNDATION}tests/" not in line]

    assert foundation(either) == foundation(template)


def test_what_is_the_templates_alone_is_left_out(either: Repository) -> None:
    assert not [path for path in LEFT_OUT if (either.folder / path).exists()]
    of_it = either.run("git", "grep", "-il", "benchmark", "--", f":!{FOUNDATION}dev", check=False).stdout
    assert not of_it.splitlines()


def is_below(path: str, folder: str) -> bool:
    return path.startswith(folder) and (bool(folder) or not path.startswith("deploy/"))


def test_a_copy_is_small(project: Repository) -> None:
    """The library, and the files that `make lock` compiles, do not count."""
    owned = [path for path in project.files() if not path.startswith(FOUNDATION)]
    written = [path for path in owned if not re.search(r"requirements(-dev)?\.txt$", path)]
    for folder, (files, lines) in MOST.items():
        assert len([path for path in owned if is_below(path, folder)]) <= files
        assert sum(len(project.text(path).splitlines()) for path in written if is_below(path, folder)) <= lines


def test_every_link_of_a_page_leads_somewhere(either: Repository) -> None:
    assert broken_links(either) == []


def test_every_file_that_a_page_names_is_there(template: Repository, either: Repository) -> None:
    """This includes names in text, tables, drawings and code spans. A path may begin at any folder."""
    files = {f"/{path}" for path in either.files()}
    # SECURITY.md names the library's tests that prove its claims.
    proofs = {f"/{path}" for path in template.files() if path.startswith(f"{LEFT_OUT[0]}/")}
    missing = []
    for page in (path for path in either.files() if path.endswith(".md") and not path.startswith(FOUNDATION)):
        # These pages write new files step by step, and say which part needs the example.
        if page in ("docs/add-a-resource.md", "docs/first-months.md", "docs/replace-a-part.md"):
            continue
        for named in re.findall(
            r"[`\[\"]((?:[\w.-]+/)*[\w-]+\.(?:py|md|ya?ml|toml|ini|sh))\b[`\]\":]", either.text(page)
        ):
            there = files | proofs if page == "SECURITY.md" else files
            if not any(path.endswith(f"/{named.removeprefix('../')}") for path in there):
                missing.append(f"{page}: {named}")
    assert missing == []


def test_no_command_is_named_that_is_not_there(either: Repository) -> None:
    targets = set(re.findall(r"^  ([a-z-]+) ", either.make("help").stdout, re.MULTILINE))
    commands = either.run(
        "git", "grep", "-ohE", r"(^ *(- run: )?|`)make [a-z-]+", "--", ".ci", ".github", "*.md", f":!{FOUNDATION}"
    ).stdout
    assert {line.split("make ")[1] for line in commands.splitlines()} <= targets


def test_a_copy_passes_what_its_ci_runs(either: Repository) -> None:
    done = either.run(".ci/run", NO_CONTAINERS="1")
    assert "Everything holds." in done.stdout
    summary = done.stdout.splitlines()[-1]
    assert " passed" in summary
    assert "failed" not in summary


def test_the_readme_of_a_copy_can_be_followed(project: Repository) -> None:
    (session,) = re.findall(r"```sh\n(api=.*?)```", project.text("README.md"), re.DOTALL)
    with served(project) as url:
        done = project.run("bash", "-euo", "pipefail", "-c", session.replace("http://127.0.0.1:8000", url))
    assert "201 Created" in done.stdout
    assert '"description":"Two litres"' in done.stdout
    assert '"completed":true' in done.stdout
    assert done.stdout.endswith('{"message":"Task deleted successfully"}\n')


def test_a_copy_can_be_renamed_again(project: Repository, tmp_path: Path) -> None:
    again = clone(project.folder, tmp_path / "again")
    again.change("README.md", lambda text: f"{text}\nOurs.\n")
    again.commit("Ours")
    again.make("init", "NAME=Green Harbour")
    assert not again.run("git", "grep", "--ignore-case", "blue.\\?harbour", check=False).stdout
    assert again.text("README.md").startswith("# Green Harbour\n")
    assert again.text("README.md").endswith("\nOurs.\n")


def used_as_template(template: Repository, folder: Path) -> Repository:
    """A copy as GitHub's button "Use this template" makes it: the same files in one commit, without the history."""
    copy = Repository(folder)
    shutil.copytree(template.folder, folder, ignore=shutil.ignore_patterns(".git"))
    copy.git("init", "--quiet", "--initial-branch=main")
    copy.commit("Initial commit")
    return copy


def test_a_clone_is_told_what_to_do_while_its_origin_is_the_template(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    said = copy.make("init", f"NAME={NAME}").stdout
    assert "If the remote `origin` is still the template, keep it" in said
    assert "git remote rename origin template\n  git remote add origin ADDRESS\n" in said
    assert "is your own" not in said

    # The advice is right: the next update needs no address.
    copy.commit("Ours")
    copy.git("remote", "rename", "origin", "template")
    assert "Nothing new" in copy.make("update").stdout

    # The advice is not repeated after it was followed.
    own = copy.make("init", "NAME=Green Harbour").stdout
    assert "There is no remote `origin` yet." in own
    copy.git("remote", "add", "origin", "https://example.com/blue-harbour.git")
    own = copy.make("init", "NAME=Grey Harbour", check=False).stderr
    assert "not committed" in own
    copy.commit("Green Harbour")
    own = copy.make("init", "NAME=Grey Harbour").stdout
    assert "`origin` is your own repository" in own
    assert "rename" not in own


def test_an_origin_that_is_the_template_is_told_apart_after_an_update(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    copy.git("remote", "add", "template", copy.git("remote", "get-url", "origin"))
    said = copy.make("init", f"NAME={NAME}").stdout
    assert "The remote `origin` is the template, as `template` is." in said
    assert "  git remote set-url origin ADDRESS\n  git push --set-upstream origin main" in said


def test_what_was_made_by_use_this_template_keeps_its_origin(template: Repository, tmp_path: Path) -> None:
    copy = used_as_template(template, tmp_path / "copy")
    copy.git("remote", "add", "origin", "https://example.com/blue-harbour.git")
    (copy.folder / "NOTES").write_text("Ours.\n")
    copy.commit("Ours")
    said = copy.make("init", f"NAME={NAME}").stdout
    assert "`origin` is your own repository" in said
    assert "git remote" not in said


def test_a_copy_without_a_remote_is_told_how_to_add_one(template: Repository, tmp_path: Path) -> None:
    said = used_as_template(template, tmp_path / "copy").make("init", f"NAME={NAME}").stdout
    assert "There is no remote `origin` yet." in said
    assert "git remote add origin ADDRESS\n  git push --set-upstream origin main" in said
    assert "rename" not in said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Give it a name"),
        ("acme", "must begin with a capital letter"),
        ('Acme\\\'s \\"Orders\\"', "only letters, digits"),
        ("Ab", "3 to 30"),
        ("Жук", "write it in Latin letters"),
        ("Database", "is used in these files already"),
        ("Acme", "as in Acme Service."),
        ("Service", "as in Acme Service."),
        ("Groundwork", "is used in these files already"),
    ],
)
def test_a_name_that_cannot_be_used_is_said_in_one_line(
    template: Repository, tmp_path: Path, name: str, sentence: str
) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    done = copy.make("init", check=False, NAME=name)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not copy.git("status", "--porcelain")


def test_a_word_of_files_that_no_rename_changes_may_be_a_name(template: Repository, tmp_path: Path) -> None:
    """The library, and the files that a copy leaves out, may contain the name as a word without a meaning."""
    copy = clone(template.folder, tmp_path / "copy")
    for path in [f"{FOUNDATION}ids.py", f"{LEFT_OUT[0]}/__init__.py", "README.md"]:
        copy.change(path, lambda text: f"{text}\n# Lighthouse\n")
    copy.commit("Lighthouse")
    assert "Lighthouse now" in copy.make("init", "NAME=Lighthouse").stdout


def test_the_command_that_is_said_to_undo_it_undoes_all(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    (copy.folder / "NOTES").write_text("Mine.\n")
    said = copy.make("init", f"NAME={NAME}", f"OWNER={OWNER}", "EXAMPLE=remove").stdout
    (undo,) = re.findall(r"To undo it:\n\n  (.*)\n", said)
    copy.run("sh", "-ec", undo)
    assert copy.git("status", "--porcelain") == "?? NOTES"


def test_files_that_only_this_clone_has_are_not_deleted(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    mine = [copy.folder / "loadtests/model/mine.csv", copy.folder / LEFT_OUT[0] / "notes/mine.txt"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("Mine.\n")
    done = copy.make("init", f"NAME={NAME}", check=False)
    assert f"\n  {LEFT_OUT[0]}/notes/mine.txt\n  loadtests/model/mine.csv\n" in done.stderr
    assert not copy.git("diff", "--name-only")
    assert all(file.read_text() == "Mine.\n" for file in mine)


def test_a_file_in_the_way_of_the_new_name_is_not_overwritten(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    mine = f"deploy/observability/dashboards/{NEW.slug}.json"
    (copy.folder / mine).write_text("Mine.\n")
    done = copy.make("init", f"NAME={NAME}", check=False)
    assert f"in the way of the new name; move them first: {mine}." in done.stderr
    assert copy.git("status", "--porcelain") == f"?? {mine}"


def test_the_same_name_again_changes_nothing_and_says_so(project: Repository, tmp_path: Path) -> None:
    again = clone(project.folder, tmp_path / "again")
    # Ignored files stay when a branch without these folders is checked out.
    (again.folder / LEFT_OUT[0] / "__pycache__").mkdir(parents=True)
    (again.folder / LEFT_OUT[0] / "__pycache__/left.pyc").write_bytes(b"")
    said = again.make("init", f"NAME={NAME}", f"OWNER={OWNER}").stdout
    assert said == f"The project is called {NAME} already. Nothing was changed.\n"
    assert not again.git("status", "--porcelain")
    said = again.make("init", f"NAME={NAME}", "OWNER=Harbour Works Inc").stdout
    assert said.startswith(f"{NAME} keeps its name.")
    assert again.git("diff", "--name-only") == "LICENSE"


def test_changes_that_are_not_committed_are_not_mixed_with_it(template: Repository, tmp_path: Path) -> None:
    copy = clone(template.folder, tmp_path / "copy")
    copy.change("README.md", lambda text: f"{text}\nMine.\n")
    done = copy.make("init", f"NAME={NAME}", check=False)
    assert "not committed" in done.stderr
    assert "Mine." in copy.text("README.md")
    assert "Traceback" not in done.stderr


def test_compose_calls_its_containers_image_and_database_after_the_project(project: Repository) -> None:
    done = project.run("docker", "compose", "--env-file", "/dev/null", "config", "--format", "json", check=False)
    if done.returncode:
        pytest.skip("docker compose is not installed")
    stack = json.loads(done.stdout)
    assert stack["name"] == NEW.slug
    assert stack["services"]["backend"]["image"] == f"{NEW.slug}-backend"
    assert stack["services"]["db"]["environment"]["POSTGRES_DB"] == NEW.slug
