"""`make resource` in a copy of the repository: generated resources pass everything, and are taken out again.

`make test-guide ARGS="--resources 30 -k test_resource"` tries thirty.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from groundwork.dev.resource.description import described
from groundwork.testing import postgres
from groundwork.testing.parametrize import USUAL
from groundwork.tests.guide.guide import copy_repository
from groundwork.tests.guide.test_add_a_resource import CHECKS, run

pytestmark = pytest.mark.guide

DATABASE = "test_resource"
SEED = 6
NAMES = (
    *("box", "category", "order_line", "match", "invoice", "entry", "address", "day", "bus", "quiz", "wish", "note"),
    *("team_note", "report", "shelf", "toy", "city", "church", "photo", "index", "price", "unit", "ledger", "event"),
    *("asset", "claim", "visit", "late_fee", "status_entry", "card"),
)
MEMBERS = (
    *("alpha", "beta", "name", "text", "type", "value", "field", "format", "size", "decimal", "annotated", "interval"),
    *("id_text", "sort", "user", "total"),
)
TYPES = (
    *("str(1)", "str(3)", "str(100)", "str(5000)", "text", "int", "float", "bool", "bool", "json", "uuid"),
    *("decimal(10,2)", "decimal(5,0)", "decimal(4,4)", "decimal(30,10)", "date", "datetime", "time", "timedelta"),
    *("enum(open,done)", "enum(a,B-2,c_3)", "ref", "ref", "ref"),
)


class Line(NamedTuple):
    name: str
    fields: str


# Words of SQL, as names and as members.
WORDS = (
    Line("order", "group:str(50) limit:int end:date? check:bool table:enum(open,done) column:decimal(10,2)?"),
    Line("group", "order:ref(orders) user:str(9)? all:str(20)"),
    Line("limit", "order:ref(orders)? offset:int task:ref(tasks)?"),
)


def lines(count: int) -> Iterator[Line]:
    """So many resources, each with some members. They refer to each other, and to themselves."""
    chosen = random.Random(SEED)
    tables = ["tasks"]
    yield from WORDS
    for name in NAMES[:count]:
        members = chosen.sample(MEMBERS, chosen.randint(2, 7))
        types = [chosen.choice(TYPES) for _ in members]
        types = [f"ref({chosen.choice(tables)})" if type_ == "ref" else type_ for type_ in types]
        # A row that must refer to one of its own table could never be the first.
        own = [f"parent:ref({described(name, 'a:int').name.many})?"] if chosen.random() < 0.2 else []
        written = [f"{member}:{type_}{chosen.choice(('', '?'))}" for member, type_ in zip(members, types, strict=True)]
        yield Line(name, " ".join([*written, *own]).replace("user:", "holder:"))
        tables.append(described(name, "a:int").name.many)


class Copy(NamedTuple):
    backend: Path
    written: list[Line]
    before: dict[str, str]
    url: str

    def resource(self, line: Line, **more: str) -> None:
        make_resource(self.backend, self.url, NAME=line.name, FIELDS=line.fields, **more)


def make_resource(backend: Path, url: str, **variables: str) -> None:
    settings = {"DATABASE_URL": url, "DATABASE_DIRECT_URL": ""}
    run(backend, "python", "-m", "groundwork.dev.resource", **settings, **variables)


def sources(backend: Path) -> dict[str, str]:
    """The service's own files, by path."""
    files = [
        path
        for folder in ("app", "tests", "migrations")
        for path in (backend / folder).rglob("*")
        if path.suffix == ".py" and path.is_file()
    ]
    return {str(path.relative_to(backend)): path.read_text() for path in [*files, backend / "openapi.json"]}


@pytest.fixture(scope="module")
def copy(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: postgres.Server, pytestconfig: pytest.Config
) -> Iterator[Copy]:
    """A copy of the repository with generated resources."""
    backend = copy_repository(tmp_path_factory.mktemp("resource") / "copy") / "backend"
    before = sources(backend)
    postgres_server.create_database(DATABASE)
    count: int = pytestconfig.option.resources
    copy = Copy(backend, [*lines(count)], before, postgres_server.url(DATABASE))
    for line in copy.written:
        copy.resource(line)
    yield copy
    postgres_server.drop_database(DATABASE)


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(copy: Copy, command: tuple[str, ...]) -> None:
    run(copy.backend, *command)


def test_their_tests_pass(copy: Copy) -> None:
    """Those of tasks pass in the copies of the guide."""
    theirs = f"not tasks and not toggle and not {' and not '.join(f'{each}_task' for each in USUAL)}"
    run(copy.backend, "pytest", "-q", "--no-header", "--tb=short", "--maxfail=5", "tests", "-k", theirs)


def test_all_are_taken_out_again(copy: Copy) -> None:
    for line in reversed(copy.written):
        copy.resource(line, REMOVE="yes")
    assert sources(copy.backend) == copy.before
