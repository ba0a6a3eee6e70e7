"""`make resource`: what it writes, what it takes out again, and what it refuses. `tests/guide` runs it in a copy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.data.tables import not_empty, stripped
from groundwork.dev.resource import __main__ as command
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
    ("class", "a:int", "", "'class' is a word of Python itself. Write another name, as class_entry"),
    ("user", "a:int", "", "user_id already says whose a row is"),
    ("user", "a:int", "", "Write another name, as NAME=member or NAME=account"),
    ("status", "a:int", "", "has the name status for something else. Write another, as NAME=own_status"),
    ("field", "a:str(9)", "", "has the name Field for something else. Write another, as NAME=own_field"),
    ("statement", "a:int", "", "has the name Statement for something else. Write another, as NAME=own_statement"),
    ("reference", "a:int", "", "PLURAL=references: this is a word of SQL"),
    ("task", "a:int", "", "backend/app/models/task.py is there already: choose another NAME"),
    ("orders", "a:int", "", "'orders' looks like a plural: write the singular, NAME=order, or add its plural"),
    ("order_lines", "a:int", "", "write the singular, NAME=order_line, or add its plural"),
    ("categories", "a:int", "", "write the singular, NAME=category, or add its plural"),
    ("boxes", "a:int", "", "write the singular, NAME=box, or add its plural"),
    ("people", "a:int", "", "write the singular, NAME=person, or add its plural"),
    ("news", "a:int", "", "the singular, NAME=new, or add its plural, as PLURAL=news_list"),
    ("tasks", "a:int", "", "write the singular, NAME=task, or add its plural"),
    ("note", "", "", "Say what it has: FIELDS="),
    ("note", "a:int a:date", "", "two members have the same name. Give each its own"),
    ("note", "a", "", "'a' is not understood. Write a name, a colon and a type"),
    ("note", "a:varchar", "", "there is no type 'varchar'. Use one of bool, date,"),
    ("note", "a:str", "", "'a:str' is not understood. Write it as a:str(100)"),
    ("note", "a:int(4)", "", "Write it as a:int."),
    ("note", "a:decimal(2,3)", "", "Write it as a:decimal(10,2)"),
    ("note", "a:enum(open)", "", "Write it as a:enum(open,done)"),
    ("note", "a:enum(a-b,a_b)", "", "Write it as a:enum(open,done)"),
    ("note", "a:str(50), b:int", "", "write spaces between the members, and no commas: 'a:str(50) b:int'"),
    ("note", "a:enum(x,y),b:int", "", "write spaces between the members, and no commas: 'a:enum(x,y) b:int'"),
    ("note", "a:ref(nothing)", "", "no model in backend/app/models has this table. Write one that is there (tasks)"),
    ("note", "id:uuid", "", "id is what every resource has already, or what its statements need. Leave it"),
    ("note", "id:uuid", "", "another name, as external_id"),
    ("note", "user_id:uuid", "", "another name, as assignee_id"),
    ("note", "statement:text", "", "another name, as statement_text"),
    ("note", "date:date", "", "would hide a name of Python or pydantic. Write another name, as date_of_it"),
    ("note", "str:int", "", "would hide a name of Python or pydantic. Write another name, as str_of_it"),
    ("note", "model_name:text", "", "would hide a name of Python or pydantic"),
    ("note", "request:bool", "", "has something else of this name already. Write another name, as own_request"),
    ("note", "limit:bool", "", "has something else of this name already. Write another name, as own_limit"),
    ("note", "note:text", "", "is the resource's own name. Write another name, as note_name"),
    ("order_entry", "order_entry:str(9)", "", "is the resource's own name. Write another name, as order_entry_name"),
    (f"n{'o' * 23}", f"a{'b' * 24}:ref(tasks)", "", "write a shorter name for one"),
    ("team", "a:int", "team", "OWNER=team: the resource itself has this name. Write another NAME"),
    (
        "note",
        "a:int",
        "organisation",
        "OWNER=organisation needs class Membership in backend/app/models/organisation.py, Here in"
        " backend/app/core/place.py, async def refuse in backend/app/services/organisations.py, REFUSED in"
        " backend/app/routes/organisations.py. Write the groups first, as docs/first-months.md does",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "owner", "says"), REFUSED, ids=[f"{each[0]} {each[1]}" for each in REFUSED])
def test_what_cannot_be_written_is_refused_in_a_sentence(
    tree: Tree, name: str, fields: str, owner: str, says: str
) -> None:
    with pytest.raises(ResourceError) as refused:
        write(tree, described(name, fields, owner=owner))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("name", "fields", "owner", "says"),
    [
        ("user", "a:varchar b: id:uuid", "Group", ["NAME=user", "OWNER=Group", "varchar", "'b:'", "id is what"]),
        ("note", "a:ref(one)? b:ref(two)", "organisation", ["ref(one)", "ref(two)", "OWNER=organisation"]),
    ],
)
def test_all_mistakes_of_a_line_are_named_at_once(
    tree: Tree, name: str, fields: str, owner: str, says: list[str]
) -> None:
    with pytest.raises(ResourceError) as refused:
        write(tree, described(name, fields, owner=owner))
    lines = str(refused.value).splitlines()
    assert len(lines) == len(says)
    assert [word for word in says if word not in str(refused.value)] == []


@pytest.mark.parametrize("name", ["order", "group", "limit", "end", "check", "table", "column", "path"])
def test_words_of_sql_can_be_names(tree: Tree, name: str) -> None:
    write(tree, described(name, f"{'order' if name != 'order' else 'group'}:str(9) user:bool"))
    assert f'router_of("{name}s")' in tree.read(f"app/routes/{name}s.py")


@pytest.mark.parametrize("name", ["order", "user", "group", "limit", "end", "check", "table", "column", "all", "type"])
@pytest.mark.parametrize("type_", ["str(9)", "int", "ref(tasks)", "decimal(9,2)?"])
def test_words_of_sql_can_be_members(name: str, type_: str) -> None:
    if (name, type_) != ("user", "ref(tasks)"):
        described("note", f"{name}:{type_} paid:bool")


def test_an_own_word_of_sql_is_quoted_in_a_constraint() -> None:
    assert str(stripped("group").sqltext).startswith("""\"group\" <> '' AND "group" = btrim("group", """)
    assert str(not_empty("user").sqltext) == "\"user\" <> ''"
    assert str(not_empty("title").sqltext) == "title <> ''"


def test_a_plural_that_is_given_lets_any_word_be_a_name() -> None:
    assert described("news", "a:int", "news_items").name.many == "news_items"
    for word in ("bus", "address", "status_entry", "analysis", "bonus", "lens", "gas"):
        described(word, "a:int")


class TestTheLine:
    """What make passes on: its variables, and all that stands in the line in MAKEFLAGS."""

    @pytest.fixture(autouse=True)
    def of_make(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NAME", "FIELDS", "PLURAL", "OWNER", "REMOVE", "MAKEFLAGS"):
            monkeypatch.delenv(name, raising=False)

    @pytest.mark.parametrize(
        ("variables", "says"),
        [
            ({"NAME": "note", "MAKEFLAGS": " -- FIELD=a:int NAME=note"}, "There is no variable FIELD: write FIELDS=…"),
            ({"NAME": "note", "MAKEFLAGS": "w --  fields=a:int NAME=note"}, "no variable fields: write FIELDS=…"),
            ({"NAME": "note", "REMOVE": "yes"}, "repeat the whole line with which the resource was made"),
            ({}, "Say what it is: make resource NAME=project"),
        ],
    )
    def test_what_it_lacks(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], says: str
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert command.main() == os.EX_USAGE
        assert says in capsys.readouterr().err

    def test_other_variables_are_not_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAKEFLAGS", " -- FIELDS=a:int NAME=note PYTHON=python3.12 NO_CONTAINERS=1")
        assert command._misspelt() is None


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
