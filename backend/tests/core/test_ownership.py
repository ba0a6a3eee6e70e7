"""The wall between users: which statements `Statement` refuses at import, and which it takes."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Optional

import pytest
from sqlalchemy import (
    Column,
    MetaData,
    String,
    Table,
    any_,
    bindparam,
    column,
    delete,
    exists,
    false,
    func,
    insert,
    lambda_stmt,
    lateral,
    literal,
    literal_column,
    not_,
    or_,
    select,
    table,
    tablesample,
    text,
    true,
    union,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased, column_property, joinedload, registry
from sqlmodel import Field, Relationship, SQLModel, col

from app import services
from app.core import idempotency
from app.core.ownership import OWNER, owned
from app.core.statement import Statement
from app.core.versions import PartialUpdate, VersionedStatement


class Base(SQLModel, registry=registry()):
    """Models of these tests, apart from the service's."""


class Book(Base, table=True):
    user_id: str = Field(primary_key=True)
    id: int = Field(primary_key=True)
    title: str
    completed: bool


class Note(Base, table=True):
    user_id: str = Field(primary_key=True)
    id: int = Field(primary_key=True)
    text: str
    book_id: str
    album_id: int = Field(foreign_key="album.id")
    album: Optional["Album"] = Relationship(back_populates="notes")


class Album(Base, table=True):
    """Belongs to nobody."""

    id: int = Field(primary_key=True)
    name: str
    notes: list[Note] = Relationship(back_populates="album")


class Shelf(Base, table=True):
    """Belongs to nobody, and counts the books of everybody."""

    id: int = Field(primary_key=True)


Shelf.books = column_property(select(func.count(col(Book.id))).scalar_subquery())

BOOKS: Any = Book.__table__  # type: ignore[attr-defined]
MINE = owned(Book)
OTHER: Any = bindparam("other", type_=String(255))
TITLE = col(Book.title)
UNGUARDED = select(TITLE)
GUARDED = select(TITLE).where(MINE)
NOTE_TEXT, NOTE_ID, ALBUM_NAME = col(Note.text), col(Note.id), col(Album.name)
NOTE_OF_BOOK = col(Note.book_id) == TITLE
ALIAS: Any = aliased(Book)
SUBQUERY = select(Book).subquery()
RECURSIVE = GUARDED.cte(recursive=True)
WHOLE_BOOK = {"user_id": OWNER, "id": bindparam("id"), "title": bindparam("title"), "completed": bindparam("completed")}
UPSERT = postgresql.insert(Book).values(WHOLE_BOOK)

READS: dict[str, Callable[[], Any]] = {
    "no condition": lambda: UNGUARDED,
    "whole rows": lambda: select(Book),
    "the table": lambda: select(BOOKS),
    "a count": lambda: select(func.count()).select_from(Book),
    "a maximum": lambda: select(func.max(TITLE)),
    "one of two conditions": lambda: UNGUARDED.where(or_(MINE, TITLE == "a")),
    "one of two conditions, one of them true": lambda: UNGUARDED.where(or_(MINE, true())),
    "a condition below AND below OR": lambda: UNGUARDED.where(or_(MINE & (TITLE == "a"), TITLE == "b")),
    "the opposite": lambda: UNGUARDED.where(not_(MINE)),
    "everybody else's": lambda: UNGUARDED.where(col(Book.user_id) != OWNER),
    "NOT of an AND": lambda: UNGUARDED.where(not_(MINE & (TITLE == "a"))),
    "everybody up to the owner": lambda: UNGUARDED.where(col(Book.user_id) <= OWNER),
    "a condition that is only compared": lambda: UNGUARDED.where(MINE.is_(false())),
    "a condition in HAVING": lambda: select(TITLE).group_by(TITLE, col(Book.user_id)).having(MINE),
    "a condition among the columns": lambda: select(TITLE, MINE),
    "another's bind": lambda: UNGUARDED.where(col(Book.user_id) == OTHER),
    "another bind of the owner's name": lambda: UNGUARDED.where(col(Book.user_id) == bindparam("owner")),
    "a fixed user": lambda: UNGUARDED.where(col(Book.user_id) == "alice"),
    "itself": lambda: UNGUARDED.where(col(Book.user_id) == col(Book.user_id)),
    "another column": lambda: UNGUARDED.where(TITLE == OWNER),
    "something called user_id": lambda: UNGUARDED.where(literal("x").label("user_id") == OWNER),
    "an unbound column called user_id": lambda: UNGUARDED.where(column("user_id") == OWNER),
    "an alias": lambda: select(aliased(Book)),
    "an alias with a condition": lambda: select(ALIAS).where(ALIAS.user_id == OWNER),
    "a guarded table and its alias": lambda: GUARDED.join(ALIAS, ALIAS.id == col(Book.id)),
    "an alias of an alias": lambda: select(BOOKS.alias().alias()),
    "a sample": lambda: select(tablesample(BOOKS, 10)),
    "a table by name": lambda: select(column("key")).select_from(table("idempotency_keys")),
    "a table described again": lambda: select(Table("idempotency_keys", MetaData(), Column("key", String))),
    "the table as a value": lambda: select(func.row_to_json(BOOKS.table_valued())),
    "a join guarded on one side": lambda: select(TITLE, NOTE_TEXT).join(Note, NOTE_OF_BOOK).where(MINE),
    "a join guarded on the other side": lambda: select(TITLE, NOTE_TEXT).join(Note, NOTE_OF_BOOK).where(owned(Note)),
    "a join guarded in ON": lambda: select(ALBUM_NAME).join(Note, owned(Note)),
    "an outer join": lambda: select(TITLE, NOTE_TEXT).outerjoin(Note, NOTE_OF_BOOK).where(MINE),
    "a product": lambda: select(TITLE, NOTE_TEXT).where(MINE),
    "users joined to each other": lambda: (
        select(TITLE, NOTE_TEXT).join(Note, col(Note.user_id) == col(Book.user_id)).where(MINE)
    ),
    "a nested join": lambda: select(ALBUM_NAME).join(Note, true()).join(BOOKS, true()).where(owned(Note)),
    "a subquery": lambda: select(UNGUARDED.subquery().c.title),
    "a subquery, guarded outside": lambda: select(SUBQUERY.c.title).where(SUBQUERY.c.user_id == OWNER),
    "a subquery below a guarded select": lambda: GUARDED.where(select(NOTE_TEXT).scalar_subquery() == TITLE),
    "a subquery among the columns": lambda: GUARDED.add_columns(select(func.count(NOTE_ID)).scalar_subquery()),
    "a subquery in ORDER BY": lambda: GUARDED.order_by(select(func.max(NOTE_TEXT)).scalar_subquery()),
    "a subquery in GROUP BY": lambda: GUARDED.group_by(select(func.max(NOTE_TEXT)).scalar_subquery()),
    "a subquery in LIMIT": lambda: GUARDED.limit(select(func.count(NOTE_ID)).scalar_subquery()),
    "a subquery in DISTINCT ON": lambda: GUARDED.ext(
        postgresql.distinct_on(select(func.max(NOTE_TEXT)).scalar_subquery())
    ),
    "a subquery in CASE": lambda: GUARDED.where(
        func.coalesce(select(func.max(NOTE_TEXT)).scalar_subquery(), "") == "x"
    ),
    "a subquery in ANY": lambda: GUARDED.where(any_(select(NOTE_TEXT).scalar_subquery()) == TITLE),
    "a subquery in IN": lambda: GUARDED.where(TITLE.in_(select(NOTE_TEXT))),
    "a lateral subquery": lambda: GUARDED.join(lateral(select(NOTE_TEXT).where(NOTE_OF_BOOK)), true()),
    "a correlated EXISTS": lambda: GUARDED.where(exists(select(NOTE_ID).where(NOTE_OF_BOOK))),
    "EXISTS by the users' equality": lambda: GUARDED.where(exists().where(col(Note.user_id) == col(Book.user_id))),
    "a guard inside EXISTS": lambda: UNGUARDED.where(exists(select(NOTE_ID).where(owned(Note), MINE))),
    "a CTE": lambda: select(UNGUARDED.cte().c.title),
    "a CTE beside the statement": lambda: GUARDED.add_cte(select(NOTE_TEXT).cte("beside")),
    "a recursive CTE": lambda: select(RECURSIVE.union_all(select(NOTE_TEXT)).c.title),
    "a CTE that deletes": lambda: select(delete(Note).returning(NOTE_ID).cte("gone").c.id),
    "a CTE that updates": lambda: select(update(Note).values(text="x").returning(NOTE_ID).cte("changed").c.id),
    "a union": lambda: union(GUARDED, UNGUARDED),
    "a union of subqueries": lambda: select(union(GUARDED, select(NOTE_TEXT)).subquery()),
    "a lambda": lambda: lambda_stmt(lambda: select(TITLE)),
    "an eager join": lambda: select(Album).options(joinedload(Album.notes)),  # type: ignore[arg-type]
    "a mapped subquery": lambda: select(Shelf),
    "text": lambda: text("SELECT title FROM books"),
    "text with columns": lambda: text("SELECT title FROM books").columns(column("title")),
    "text under a model": lambda: select(Book).from_statement(text("SELECT * FROM books")),
    "text as a table": lambda: select(column("title")).select_from(text("books")),
    "text among the conditions": lambda: GUARDED.where(text("true OR true")),
    "text among the columns": lambda: GUARDED.add_columns(text("(SELECT count(*) FROM notes)")),
    "text in ORDER BY": lambda: GUARDED.order_by(text("(SELECT max(text) FROM notes)")),
    "text in front": lambda: GUARDED.prefix_with("(SELECT 1),"),
    "text behind": lambda: GUARDED.suffix_with("UNION SELECT title FROM books"),
    "text in a hint": lambda: GUARDED.with_statement_hint("UNION SELECT title FROM books"),
    "a literal column": lambda: select(literal_column("(SELECT max(title) FROM books)")),
}

WRITES: dict[str, Callable[[], Any]] = {
    "update without a condition": lambda: update(Book).values(title="x"),
    "update by id": lambda: update(Book).where(col(Book.id) == bindparam("id")).values(title="x"),
    "update of either": lambda: update(Book).where(or_(MINE, TITLE == "a")).values(title="x"),
    "update that gives a row away": lambda: update(Book).where(MINE).values(user_id=OTHER),
    "update that gives a row to a fixed user": lambda: update(Book).where(MINE).values({"user_id": "bob"}),
    "update that empties the owner": lambda: update(Book).where(MINE).values({Book.user_id: None}),
    "update of every column": lambda: update(Book).where(MINE),
    "update from": lambda: update(Book).where(MINE, NOTE_OF_BOOK).values(title="x"),
    "update with another's value": lambda: update(Book).where(MINE).values(title=NOTE_TEXT),
    "update with a subquery": lambda: update(Book).where(MINE).values(title=select(NOTE_TEXT).scalar_subquery()),
    "update of nobody's from somebody's": lambda: update(Album).where(ALBUM_NAME == TITLE).values(name="x"),
    "update of nobody's by a whole row": lambda: (
        update(Album).where(func.row_to_json(BOOKS.table_valued()).is_not(None)).values(name="x")
    ),
    "update of an alias": lambda: update(aliased(Book)).values(title="x"),
    "update of a table by name": lambda: update(table("idempotency_keys", column("key"))).values(key="x"),
    "update that returns another's": lambda: (
        update(Book).where(MINE).values(title="x").returning(select(func.max(NOTE_TEXT)).scalar_subquery())
    ),
    "delete without a condition": lambda: delete(Book),
    "delete by id": lambda: delete(Book).where(col(Book.id) == bindparam("id")),
    "delete of either": lambda: delete(Book).where(or_(MINE, TITLE == "a")),
    "delete by another's rows": lambda: delete(Book).where(MINE, NOTE_OF_BOOK),
    "delete using": lambda: delete(Album).where(ALBUM_NAME == TITLE),
    "delete using, said aloud": lambda: delete(Album).using(BOOKS),
    "delete with a subquery": lambda: delete(Album).where(exists(UNGUARDED)),
    "insert without an owner": lambda: insert(Book).values(id=bindparam("id"), title="x"),
    "insert of every column": lambda: insert(Book),
    "insert for another": lambda: insert(Book).values({**WHOLE_BOOK, "user_id": OTHER}),
    "insert for another bind of the owner's name": lambda: insert(Book).values(
        {**WHOLE_BOOK, "user_id": bindparam("owner")}
    ),
    "insert for a fixed user": lambda: insert(Book).values({**WHOLE_BOOK, "user_id": "bob"}),
    "insert whose owner is replaced": lambda: insert(Book).values(WHOLE_BOOK).values(user_id=OTHER),
    "insert of several rows": lambda: insert(Book).values([WHOLE_BOOK, {**WHOLE_BOOK, "user_id": OTHER}]),
    "insert from a select": lambda: insert(Book).from_select(["user_id", "title"], select(OWNER, literal("x"))),
    "insert into nobody's from somebody's": lambda: insert(Album).from_select(["name"], UNGUARDED),
    "insert with a subquery": lambda: insert(Book).values({**WHOLE_BOOK, "title": select(NOTE_TEXT).scalar_subquery()}),
    "insert into a table by name": lambda: insert(table("idempotency_keys", column("key"))).values(key="x"),
    "upsert": lambda: UPSERT.on_conflict_do_update(index_elements=["user_id", "id"], set_={"title": "x"}),
    "upsert by a key without the owner": lambda: UPSERT.on_conflict_do_update(
        index_elements=["id"], set_={"title": "x"}
    ),
    "upsert of either": lambda: UPSERT.on_conflict_do_update(
        index_elements=["id"], set_={"title": "x"}, where=or_(MINE, TITLE == "a")
    ),
    "upsert that gives a row away": lambda: UPSERT.on_conflict_do_update(
        index_elements=["id"], set_={"user_id": OTHER}, where=MINE
    ),
    "upsert with a subquery": lambda: UPSERT.on_conflict_do_update(
        index_elements=["id"], set_={"title": select(NOTE_TEXT).scalar_subquery()}, where=MINE
    ),
}

ACCEPTED: dict[str, Callable[[], Any]] = {
    "guarded": lambda: GUARDED,
    "guarded by AND": lambda: UNGUARDED.where(MINE & (TITLE == "a") & or_(TITLE == "b", TITLE == "c")),
    "guarded twice": lambda: GUARDED.where(MINE),
    "two guarded tables": lambda: select(TITLE, NOTE_TEXT).join(Note, NOTE_OF_BOOK).where(MINE, owned(Note)),
    "a guarded outer join": lambda: select(TITLE, NOTE_TEXT).outerjoin(Note, NOTE_OF_BOOK).where(MINE, owned(Note)),
    "a guarded EXISTS": lambda: GUARDED.where(exists(select(NOTE_ID).where(owned(Note), NOTE_OF_BOOK))),
    "guarded subqueries": lambda: select(union(GUARDED, select(NOTE_TEXT).where(owned(Note))).subquery()),
    "a guarded CTE": lambda: select(GUARDED.cte().c.title),
    "a guarded count": lambda: select(func.count()).select_from(Book).where(MINE),
    "a table of nobody": lambda: select(ALBUM_NAME),
    "an alias of nobody's table": lambda: select(aliased(Album)),
    "a table by name, of nobody": lambda: select(column("version_num")).select_from(table("alembic_version")),
    "a guarded update from": lambda: update(Book).where(MINE, owned(Note), NOTE_OF_BOOK).values(title=NOTE_TEXT),
    "an update that names the owner": lambda: update(Book).where(MINE).values(title="x", user_id=OWNER),
    "a guarded delete using": lambda: delete(Book).where(MINE, owned(Note), NOTE_OF_BOOK),
    "insert into nobody's from a guarded select": lambda: insert(Album).from_select(["name"], GUARDED),
    "insert unless it is there": UPSERT.on_conflict_do_nothing,
    "an upsert of one's own": lambda: UPSERT.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={"title": "x"}, where=MINE
    ),
    "no table": lambda: select(func.now()),
}


@pytest.mark.parametrize("make", [*READS.values(), *WRITES.values()], ids=[*READS, *WRITES])
def test_a_statement_that_could_touch_anothers_rows_is_refused(make: Callable[[], Any]) -> None:
    statement = make()
    with pytest.raises(TypeError, match=r"owned by users|user_id=OWNER|stays its owner's|no SQL text"):
        Statement(statement)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_statement_that_stays_with_its_owner_is_taken(make: Callable[[], Any]) -> None:
    assert Statement(make()).sql


def test_the_owner_is_a_value_that_every_run_must_give() -> None:
    with pytest.raises(TypeError, match="owner"):
        Statement(GUARDED).arguments({})
    assert Statement(GUARDED).arguments({"owner": "alice"}) == ["alice"]


def test_an_owner_that_was_fixed_beforehand_is_asked_for_all_the_same() -> None:
    statement: Statement[Any] = Statement(GUARDED.params(owner="alice"))
    with pytest.raises(TypeError, match="owner"):
        statement.arguments({})
    assert statement.arguments({"owner": "bob"}) == ["bob"]


def test_every_statement_of_the_service_names_its_owner() -> None:
    modules = [idempotency, *(import_module(f"app.services.{each.name}") for each in iter_modules(services.__path__))]
    made = [each for module in modules for each in vars(module).values()]
    statements = [each for each in made if isinstance(each, Statement)]
    made += [each.writing(frozenset()) for each in made if isinstance(each, PartialUpdate)]
    for each in made:
        if isinstance(each, VersionedStatement):
            statements += [each.always, each.guarded]
    assert len(statements) >= 10
    assert all("owner" in statement._names for statement in statements)
