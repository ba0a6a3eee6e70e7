"""`make resource`: what it writes, what it takes out again, and what it refuses. `tests/guide` runs it in a copy."""

import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.dev.resource import schema
from groundwork.dev.resource.description import described
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.tree import Tree
from groundwork.dev.resource.writing import take_out, write
from groundwork.testing import rows
from groundwork.tests.guide.guide import ROOT, Guide

LINE = 'NAME=project FIELDS="name:str(100) description:str(1000)? archived:bool"'
FIELDS = "name:str(100) description:str(1000)? archived:bool"
PAGE = ROOT / "docs" / "add-a-resource.md"


@pytest.fixture
def tree() -> Tree:
    return Tree(ROOT / "backend")


def test_the_page_builds_by_hand_what_the_line_writes(tree: Tree) -> None:
    guide = Guide(PAGE, until="A reference from tasks")
    assert f"make resource {LINE}" in guide.text
    write(tree, described("project", FIELDS))
    shown = {block.path.removeprefix("backend/"): block for block in guide.blocks if "versions" not in block.path}
    assert tree.texts.keys() == shown.keys()
    for path, block in shown.items():
        text = block.code if block.language == "python" else guide.changed(block, (tree.backend / path).read_text())
        assert tree.texts[path] == text, f"{PAGE.name} shows another {path} than `make resource {LINE}` writes"


OTHERS = {
    "all types": "a:str(7) b:str(3) c:text d:int e:float f:decimal(4,4) g:date h:datetime i:time j:timedelta k:uuid"
    " ll:enum(x,y) m:json n:bool o:ref(tasks)",
    "all types, or null": "a:str(7)? c:text? d:int? e:float? f:decimal(9,0)? g:date? h:datetime? i:time? j:timedelta?"
    " k:uuid? ll:enum(x,y)? m:json? n:bool? o:ref(tasks)?",
    "references only": "task:ref(tasks) other:ref(tasks)?",
    "a reference to itself": "name:str(50) above:ref(examples)?",
}
LONG = "ab_cd_ef_gh_ij_kl_mn_opqr"


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_what_is_written_is_taken_out_again(tree: Tree, fields: str) -> None:
    resource = described("example", fields)
    write(tree, resource)
    written = dict(tree.texts)
    take_out(tree, resource)
    assert all(text is None or text == (tree.backend / path).read_text() for path, text in tree.texts.items())
    assert tree.texts.keys() == written.keys()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *(("example", fields) for fields in OTHERS.values()),
        (LONG[:24], f"{LONG[:22]}:enum(open,done)"),
        (LONG[:24], f"{LONG[:17]}:str(100) {LONG[:5]}:ref(tasks)? {LONG[:6]}a:ref(tasks) above:ref({LONG[:24]}s)?"),
        (LONG[:24], f"{LONG[:22]}:bool {LONG[:19]}a:decimal(10,2) {LONG[:20]}:datetime"),
    ],
)
def test_the_linter_accepts_what_is_written(tree: Tree, tmp_path: Path, name: str, fields: str) -> None:
    write(tree, described(name, fields))
    for path, text in tree.texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(str(text))
    (tmp_path / "pyproject.toml").write_text((ROOT / "backend" / "pyproject.toml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "."], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_two_that_refer_to_the_same_are_taken_out_in_any_order(tree: Tree) -> None:
    first, second = described("first", "task:ref(tasks)"), described("second", "task:ref(tasks)? a:str(9)")
    write(tree, first)
    of_first = dict(tree.texts)
    write(tree, second)
    take_out(tree, first)
    take_out(tree, second)
    assert all(text is None or text == (tree.backend / path).read_text() for path, text in tree.texts.items())
    write(tree, first)
    assert {path: text for path, text in tree.texts.items() if text is not None} == of_first


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("app/models/project.py", "A project of a user", "What tasks are for"),
        ("app/main.py", "            projects,\n", "            *[projects],\n"),
        ("tests/resources.py", '"archived": True', '"archived": False'),
        ("app/services/tasks.py", "The task has projects", "It has projects"),
    ],
)
def test_what_was_changed_is_not_taken_out(tree: Tree, path: str, old: str, new: str) -> None:
    resource = described("project", f"{FIELDS} task:ref(tasks)?")
    write(tree, resource)
    tree.texts[path] = tree.read(path).replace(old, new)
    with pytest.raises(ResourceError, match="by hand"):
        take_out(Tree(tree.backend, tree.texts), resource)


REFUSED = [
    ("Project", "a:int", "", "NAME=Project: write a name of at most 25 small letters"),
    ("order", "a:int", "", "'order' is a word of Python or SQL. Write another name"),
    ("user", "a:int", "", "Write another name, as user_entry"),
    ("status", "a:int", "", "write another, as NAME=own_status"),
    ("task", "a:int", "", "backend/app/models/task.py is there already: choose another NAME"),
    ("note", "", "", "Say what it has: FIELDS="),
    ("note", "a:int a:date", "", "two members have the same name. Give each its own"),
    ("note", "a", "", "'a' is not understood. Write a name, a colon and a type"),
    ("note", "a:varchar", "", "there is no type 'varchar'. Use one of bool, date,"),
    ("note", "a:str", "", "'a:str' is not understood. Write it as a:str(100)"),
    ("note", "a:int(4)", "", "Write it as a:int."),
    ("note", "a:decimal(2,3)", "", "Write it as a:decimal(10,2)"),
    ("note", "a:enum(open)", "", "Write it as a:enum(open,done)"),
    ("note", "a:enum(a-b,a_b)", "", "Write it as a:enum(open,done)"),
    ("note", "a:ref(nothing)", "", "no model in backend/app/models has this table. Write the table of a resource"),
    ("note", "id:uuid", "", "id is what every resource has, or what its statements need. Write another name"),
    ("note", "date:date", "", "would hide a name of Python or pydantic. Write another, as date_of_it"),
    ("note", "model_name:text", "", "would hide a name of Python or pydantic"),
    ("note", "request:bool", "", "filters the list, whose function has this name already. Write another name"),
    ("note", "note:text", "", "is the resource's own name. Write another"),
    (f"n{'o' * 23}", f"a{'b' * 24}:ref(tasks)", "", "write a shorter name for one"),
    (
        "note",
        "a:int",
        "organisation",
        "OWNER=organisation needs class Membership in backend/app/models/organisation.py",
    ),
]


@pytest.mark.parametrize(("name", "fields", "owner", "says"), REFUSED, ids=[f"{each[0]} {each[1]}" for each in REFUSED])
def test_what_cannot_be_written_is_refused_in_a_sentence(
    tree: Tree, name: str, fields: str, owner: str, says: str
) -> None:
    with pytest.raises(ResourceError) as refused:
        write(tree, described(name, fields, owner=owner))
    assert says in str(refused.value)


def test_the_examples_name_a_row_that_the_tests_insert() -> None:
    assert schema.PARENT == rows.PARENT


def test_a_plural_follows_the_rules_of_english_or_is_given() -> None:
    many = {one: described(one, "a:int").name.many for one in ("task", "category", "day", "box", "bus", "match")}
    assert [*many.values()] == ["tasks", "categories", "days", "boxes", "buses", "matches"]
    assert described("hero", "a:int", "heroes").name.many == "heroes"
    with pytest.raises(ResourceError, match="must be another word than the singular: add PLURAL=sheep_list"):
        described("sheep", "a:int", "sheep")


def test_a_file_that_lacks_the_line_is_named(tmp_path: Path) -> None:
    """A team's own main.py may look otherwise: the sentence says what to add."""
    tree = Tree(ROOT / "backend", {"app/main.py": "from app import x\n\napp = x\n"})
    with pytest.raises(ResourceError, match=r"backend/app/main\.py has no line 'resources=\[': add it again"):
        write(tree, described("project", FIELDS))


def test_sentences_of_ones_own_are_kept(tree: Tree) -> None:
    """A dictionary that is there may hold quotation marks of both kinds."""
    write(tree, described("first", "task:ref(tasks)"))
    path = "app/services/tasks.py"
    theirs = """'Bob\\'s "task" is in use.'"""
    tree.texts[path] = tree.read(path).replace("_IN_USE = {", f"_IN_USE = {{'tasks_title_key': {theirs}, ")
    write(tree, described("second", "task:ref(tasks)"))
    text = tree.read(path)
    assert text.count("_user_id_task_id_fkey") == 2
    assert """Bob\\'s "task" is in use.""" in text
