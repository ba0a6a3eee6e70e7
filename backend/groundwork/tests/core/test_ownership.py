"""Which statements `Statement` refuses at import because they could reach another user's rows, and which it accepts."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Optional

import pytest
from sqlalchemy import (
    DDL,
    Column,
    MetaData,
    String,
    Table,
    any_,
    bindparam,
    collate,
    column,
    delete,
    exists,
    extract,
    false,
    func,
    insert,
    join,
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
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased, column_property, joinedload, registry
from sqlalchemy.schema import DropTable
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.operators import custom_op
from sqlmodel import Field, Relationship, SQLModel, col

from app import services
from groundwork.data import idempotency_records
from groundwork.data.guard_check import require_guard
from groundwork.data.guard_compiler import KnownCompiler, OwnerCompiler, PlainIdentifiers
from groundwork.data.known_functions import harmless
from groundwork.data.known_tables import public
from groundwork.data.ownership import OWNER_ID, owned
from groundwork.data.statement import Statement
from groundwork.data.versions import PartialUpdate, VersionedStatement


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
    """Belongs to nobody, and counts the books of all users."""

    id: int = Field(primary_key=True)


class Cover(Base, table=True):
    """Another description of the table of books, without the owner."""

    __tablename__ = "BOOK"
    __table_args__ = {"schema": "public"}

    id: int = Field(primary_key=True)
    title: str


class Draft(Base, table=True):
    """Nobody has said whose its rows are."""

    id: int = Field(primary_key=True)


public(Album, reason="Of these tests.")
public(Shelf, reason="Of these tests.")
Shelf.books = column_property(select(func.count(col(Book.id))).scalar_subquery())

BOOKS: Any = Book.__table__  # type: ignore[attr-defined]
ALBUMS: Any = Album.__table__  # type: ignore[attr-defined]
MINE = owned(Book)
OTHER: Any = bindparam("other", type_=String(255))
TITLE = col(Book.title)
UNGUARDED = select(TITLE)
GUARDED = select(TITLE).where(MINE)
NOTE_TEXT, NOTE_ID, ALBUM_NAME = col(Note.text), col(Note.id), col(Album.name)
NOTE_OF_BOOK = col(Note.book_id) == TITLE
ALIAS: Any = aliased(Book)
OTHER_ALIAS: Any = aliased(Book)
NOTES: Any = Note.__table__  # type: ignore[attr-defined]
ALIAS_OF_ALBUM: Any = aliased(Album)
NAMESAKE = NOTES.alias(BOOKS.name)
CAPITALS = NOTES.alias(quoted_name(BOOKS.name.upper(), quote=False))
SAMPLE: Any = tablesample(BOOKS, 10)
SUBQUERY = select(Book).subquery()
RECURSIVE = GUARDED.cte(recursive=True)
WHOLE_BOOK = {
    "user_id": OWNER_ID,
    "id": bindparam("id"),
    "title": bindparam("title"),
    "completed": bindparam("completed"),
}
UPSERT = postgresql.insert(Book).values(WHOLE_BOOK)
OWN_FROM_SELECT = postgresql.insert(Book).from_select(["user_id", "title"], select(OWNER_ID, literal("x")))

REVISION = public(table("alembic_version", column("version_num")), reason="Of these tests.")
harmless("reads_nothing", "extensions.reads_nothing", reason="Of these tests.")
STRANGER: Any = table("strangers", column("title"), column("user_id"), schema="public")
TITLE_BY_NAME = select(STRANGER.c.title)


def raw(text: str) -> quoted_name:
    """A name that SQLAlchemy writes into the SQL unquoted."""
    return quoted_name(text, quote=False)


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
    "everybody else's": lambda: UNGUARDED.where(col(Book.user_id) != OWNER_ID),
    "NOT of an AND": lambda: UNGUARDED.where(not_(MINE & (TITLE == "a"))),
    "everybody up to the owner": lambda: UNGUARDED.where(col(Book.user_id) <= OWNER_ID),
    "a condition that is only compared": lambda: UNGUARDED.where(MINE.is_(false())),
    "a condition in HAVING": lambda: select(TITLE).group_by(TITLE, col(Book.user_id)).having(MINE),
    "a condition among the columns": lambda: select(TITLE, MINE),
    "another's bind": lambda: UNGUARDED.where(col(Book.user_id) == OTHER),
    "another bind of the owner's name": lambda: UNGUARDED.where(col(Book.user_id) == bindparam("owner")),
    "a fixed user": lambda: UNGUARDED.where(col(Book.user_id) == "alice"),
    "itself": lambda: UNGUARDED.where(col(Book.user_id) == col(Book.user_id)),
    "another column": lambda: UNGUARDED.where(TITLE == OWNER_ID),
    "something called user_id": lambda: UNGUARDED.where(literal("x").label("user_id") == OWNER_ID),
    "an unbound column called user_id": lambda: UNGUARDED.where(column("user_id") == OWNER_ID),
    "an alias": lambda: select(aliased(Book)),
    "a guarded table and its alias": lambda: GUARDED.join(ALIAS, ALIAS.id == col(Book.id)),
    "an alias of an alias": lambda: select(BOOKS.alias().alias()),
    "a sample": lambda: select(tablesample(BOOKS, 10)),
    "a table by name": lambda: select(column("key")).select_from(table("idempotency_keys")),
    "a table described again": lambda: select(Table("idempotency_keys", MetaData(), Column("key", String))),
    "a table by name and schema": lambda: select(column("title")).select_from(table("book", schema="public")),
    "a table described again, in a schema": lambda: select(
        Table("book", MetaData(), Column("title", String), schema="public")
    ),
    "a table of another database's": lambda: select(column("title")).select_from(table("book", schema="a.public")),
    "a table that no model describes": lambda: TITLE_BY_NAME,
    "a table that no model describes, guarded": lambda: TITLE_BY_NAME.where(STRANGER.c.user_id == OWNER_ID),
    "a table of the same name, guarded": lambda: UNGUARDED.where(
        table("book", column("user_id")).c.user_id == OWNER_ID
    ),
    "a view": lambda: select(column("title")).select_from(table("all_books")),
    "a partition": lambda: select(column("title")).select_from(table("book_p0")),
    "a catalogue": lambda: select(column("query")).select_from(table("pg_stat_activity")),
    "a table by a raw name": lambda: select(column("title")).select_from(table(raw("book b, note"))),
    "a model that describes the table again": lambda: select(Cover),
    "an unknown table's alias": lambda: select(STRANGER.alias().c.title),
    "an unknown table in a CTE": lambda: select(TITLE_BY_NAME.cte().c.title),
    "an unknown table in a subquery": lambda: select(TITLE_BY_NAME.subquery().c.title),
    "an unknown table in a lateral subquery": lambda: GUARDED.join(lateral(TITLE_BY_NAME), true()),
    "an unknown table in EXISTS": lambda: GUARDED.where(exists(TITLE_BY_NAME)),
    "an unknown table in a union": lambda: union(GUARDED, TITLE_BY_NAME),
    "an unknown table, joined": lambda: GUARDED.join(STRANGER, true()),
    "an unknown table, sampled": lambda: select(tablesample(STRANGER, 10)),
    "an unknown table as a value": lambda: select(func.row_to_json(STRANGER.table_valued())),
    "a function that runs SQL": lambda: select(func.query_to_xml("SELECT * FROM book", true(), true(), "")),
    "a function that reads a table": lambda: select(func.table_to_xml("book", true(), true(), "")),
    "a function of the database's": lambda: select(func.all_books()),
    "a function of a schema": lambda: select(func.public.lower("x")),
    "a function that returns rows": lambda: select(func.all_books().table_valued("title").c.title),
    "a function in a lateral join": lambda: GUARDED.join(func.all_books().table_valued("title").lateral(), true()),
    "a function among the conditions": lambda: GUARDED.where(func.leaks(TITLE)),
    "a raw column": lambda: select(column(raw("(SELECT max(title) FROM book)"))),
    "a raw label": lambda: select(literal("x").label(raw("y FROM book --"))),
    "a raw function": lambda: select(Function(raw("lower"), packagenames=(raw("public"),))),
    "a raw collation": lambda: GUARDED.order_by(collate(TITLE, raw("C, (SELECT max(text) FROM note)"))),
    "a raw alias": lambda: select(aliased(Album, name=raw("a, book"))),
    "a raw CTE": lambda: select(GUARDED.cte(raw("c AS (TABLE book), d")).c.title),
    "an operator that is text": lambda: GUARDED.where(TITLE.op("= 'x' OR")(TITLE)),
    "an operator of words": lambda: GUARDED.where(TITLE.op("UNION SELECT title FROM book WHERE")(TITLE)),
    "an operator that begins a comment": lambda: GUARDED.where(TITLE.op("=--")(TITLE)),
    "an operator that begins a long comment": lambda: GUARDED.where(TITLE.op("+/*")(TITLE)),
    "a unary operator that is text": lambda: GUARDED.where(custom_op("NOT x OR")(TITLE)),
    "a field that is text": lambda: GUARDED.where(extract("day FROM now()) OR (1", TITLE) == 1),
    "the table as a value": lambda: select(func.row_to_json(BOOKS.table_valued())),
    "a join guarded on one side": lambda: select(TITLE, NOTE_TEXT).join(Note, NOTE_OF_BOOK).where(MINE),
    "a join guarded on the other side": lambda: select(TITLE, NOTE_TEXT).join(Note, NOTE_OF_BOOK).where(owned(Note)),
    "a model of which nobody has said whose its rows are": lambda: select(col(Draft.id)),
    "an alias of such a model": lambda: select(aliased(Draft)),
    "an alias that is guarded as the table": lambda: select(ALIAS).where(MINE),
    "a table that is guarded as its alias": lambda: UNGUARDED.where(ALIAS.user_id == OWNER_ID),
    "two aliases, one guarded": lambda: select(ALIAS, OTHER_ALIAS).where(owned(ALIAS)),
    "an outer join guarded in ON on the side that is kept": lambda: (
        select(ALBUM_NAME).select_from(Note).outerjoin(Album, owned(Note))
    ),
    "a full join guarded in ON": lambda: select(ALBUM_NAME).outerjoin(Note, owned(Note), full=True),
    "a full join guarded in ON on the other side": lambda: (
        select(ALBUM_NAME).select_from(Note).outerjoin(Album, owned(Note), full=True)
    ),
    "a join below an outer join": lambda: select(ALBUM_NAME).select_from(
        join(BOOKS, NOTES, MINE).outerjoin(ALBUMS, owned(Note))
    ),
    "one of two conditions in ON": lambda: select(ALBUM_NAME).outerjoin(Note, or_(owned(Note), true())),
    "an outer join": lambda: select(TITLE, NOTE_TEXT).outerjoin(Note, NOTE_OF_BOOK).where(MINE),
    "a product": lambda: select(TITLE, NOTE_TEXT).where(MINE),
    "users joined to each other": lambda: (
        select(TITLE, NOTE_TEXT).join(Note, col(Note.user_id) == col(Book.user_id)).where(MINE)
    ),
    "a join in parentheses": lambda: select(ALBUM_NAME).join(join(ALIAS_OF_ALBUM, Note, true()), true()),
    "a join in parentheses of an outer join": lambda: select(ALBUM_NAME).outerjoin(
        join(ALIAS_OF_ALBUM, Note, true()), true()
    ),
    "a subquery by the table's name": lambda: GUARDED.where(
        select(OWNER_ID.label("user_id")).subquery(BOOKS.name).c.user_id == OWNER_ID
    ),
    "a CTE by the table's name": lambda: GUARDED.add_cte(select(literal("x").label("title")).cte(BOOKS.name)),
    "an alias by another table's name": lambda: GUARDED.where(
        exists(select(NAMESAKE.c.id).where(NAMESAKE.c.user_id == OWNER_ID))
    ),
    "an alias by the name in capitals": lambda: GUARDED.where(
        exists(select(CAPITALS.c.id).where(CAPITALS.c.user_id == OWNER_ID))
    ),
    "a nested join": lambda: select(ALBUM_NAME).join(Note, true()).join(BOOKS, true()).where(owned(Note)),
    "a subquery": lambda: select(UNGUARDED.subquery().c.title),
    "a subquery, guarded outside": lambda: select(SUBQUERY.c.title).where(SUBQUERY.c.user_id == OWNER_ID),
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
    "update of an unknown table": lambda: update(STRANGER).values(title="x"),
    "update of a table in a schema": lambda: update(table("book", column("title"), schema="public")).values(title="x"),
    "update from an unknown table": lambda: update(Album).where(STRANGER.c.title == ALBUM_NAME).values(name="x"),
    "delete of an unknown table": lambda: delete(STRANGER),
    "delete using an unknown table": lambda: delete(Album).where(STRANGER.c.title == ALBUM_NAME),
    "insert into an unknown table": lambda: insert(STRANGER).values(title="x"),
    "insert into an unknown table, for its owner": lambda: insert(STRANGER).values(title="x", user_id=OWNER_ID),
    "insert into a table in a schema": lambda: insert(table("book", column("title"), schema="public")).values(title=""),
    "insert from an unknown table": lambda: insert(Album).from_select(["name"], TITLE_BY_NAME),
    "insert from a CTE of an unknown table": lambda: insert(Album).from_select(
        ["name"], select(TITLE_BY_NAME.cte().c.title)
    ),
    "a CTE that deletes from an unknown table": lambda: select(
        delete(STRANGER).returning(STRANGER.c.title).cte("gone").c.title
    ),
    "insert by the second description": lambda: insert(Cover).values(id=1, title="x"),
    "delete by the second description": lambda: delete(Cover),
    "drop of a table": lambda: DropTable(BOOKS),
    "DDL": lambda: DDL("DROP TABLE book"),  # type: ignore[no-untyped-call]
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
    "insert from a select for another": lambda: insert(Book).from_select(
        ["user_id", "title"], select(OTHER, literal("x"))
    ),
    "insert from a select without an owner": lambda: insert(Book).from_select(["title"], select(literal("x"))),
    "insert from a select with the owner in another place": lambda: insert(Book).from_select(
        ["user_id", "title"], select(literal("x"), OWNER_ID)
    ),
    "insert from a select of a table's columns": lambda: insert(Book).from_select(
        ["title", "user_id", "id"], select(ALBUMS, OWNER_ID)
    ),
    "insert from a select of everything": lambda: insert(Book).from_select(
        ["title", "user_id"], select(literal_column("*"), OWNER_ID).select_from(ALBUMS)
    ),
    "insert from a select of everything of each": lambda: insert(Book).from_select(
        ["title", "user_id", "id"], select(literal_column("*"), OWNER_ID, literal_column("*"))
    ),
    "insert from a select of text": lambda: insert(Book).from_select(
        ["title", "user_id"], select(text("'x', 'bob'"), OWNER_ID)
    ),
    "insert from text": lambda: insert(Book).from_select(["user_id"], text("SELECT 'bob'").columns(column("user_id"))),
    "insert from a select for the same name": lambda: insert(Book).from_select(["user_id"], select(bindparam("owner"))),
    "insert of another's value": lambda: insert(Book).from_select(["user_id", "title"], select(OWNER_ID, NOTE_TEXT)),
    "insert where another has something": lambda: insert(Book).from_select(
        ["user_id", "title"], select(OWNER_ID, literal("x")).where(exists(select(NOTE_ID)))
    ),
    "insert of another's value by a CTE": lambda: insert(Book).from_select(
        ["user_id", "title"], select(OWNER_ID, UNGUARDED.cte().c.title)
    ),
    "a CTE that inserts for another": lambda: select(
        insert(Book).from_select(["user_id"], select(OTHER)).returning(col(Book.id)).cte("made").c.id
    ),
    "upsert from a select": lambda: OWN_FROM_SELECT.on_conflict_do_update(index_elements=["id"], set_={"title": "x"}),
    "upsert from a select that gives a row away": lambda: OWN_FROM_SELECT.on_conflict_do_update(
        index_elements=["id"], set_={"user_id": OTHER}, where=MINE
    ),
    "insert from a union": lambda: insert(Book).from_select(["user_id"], union_all(select(OWNER_ID), select(OTHER))),
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
    "a join guarded in ON": lambda: select(ALBUM_NAME).join(Note, owned(Note)),
    "an outer join guarded in ON": lambda: (
        select(TITLE, NOTE_TEXT).outerjoin(Note, NOTE_OF_BOOK & owned(Note)).where(MINE)
    ),
    "an inner join in the ON of an outer join": lambda: select(ALBUM_NAME).select_from(
        ALBUMS.outerjoin(join(BOOKS, NOTES, owned(Note)), MINE)
    ),
    "a guarded full join": lambda: select(TITLE).outerjoin(Note, NOTE_OF_BOOK, full=True).where(MINE, owned(Note)),
    "an alias": lambda: select(ALIAS).where(owned(ALIAS)),
    "a guarded join in parentheses": lambda: select(ALBUM_NAME).outerjoin(
        join(ALIAS_OF_ALBUM, Note, owned(Note)), true()
    ),
    "two subqueries by one name": lambda: GUARDED.where(
        *(TITLE.in_(select(select(ALBUM_NAME).subquery("named").c.name)) for _ in range(2))
    ),
    "one alias in two places": lambda: select(ALIAS.title).where(
        owned(ALIAS), ALIAS.title.in_(select(ALIAS.title).where(owned(ALIAS)).correlate(None))
    ),
    "a self-join": lambda: GUARDED.join(ALIAS, (ALIAS.id == col(Book.id)) & owned(ALIAS)),
    "two aliases": lambda: select(ALIAS, OTHER_ALIAS).where(owned(ALIAS), owned(OTHER_ALIAS)),
    "a guarded sample": lambda: select(SAMPLE).where(SAMPLE.c.user_id == OWNER_ID),
    "an update of an alias": lambda: update(ALIAS).where(owned(ALIAS)).values(title="x"),
    "insert of several rows": lambda: insert(Book).values([WHOLE_BOOK, {**WHOLE_BOOK, "title": "x"}]),
    "insert of a list": lambda: insert(Book).from_select(
        ["user_id", "title"], select(OWNER_ID, func.unnest(bindparam("titles")))
    ),
    "words in a text": lambda: GUARDED.where(TITLE.icontains(bindparam("q")), TITLE.startswith("a", autoescape=True)),
    "a guarded EXISTS": lambda: GUARDED.where(exists(select(NOTE_ID).where(owned(Note), NOTE_OF_BOOK))),
    "guarded subqueries": lambda: select(union(GUARDED, select(NOTE_TEXT).where(owned(Note))).subquery()),
    "a guarded CTE": lambda: select(GUARDED.cte().c.title),
    "a guarded count": lambda: select(func.count()).select_from(Book).where(MINE),
    "a table of nobody": lambda: select(ALBUM_NAME),
    "an alias of nobody's table": lambda: select(aliased(Album)),
    "a table that is declared public": lambda: select(REVISION.c.version_num),
    "a function of rows": lambda: select(func.unnest(TITLE).table_valued("x").c.x).select_from(Book).where(MINE),
    "an operator of signs": lambda: GUARDED.where(TITLE.op("~*")("x"), TITLE.op("->>")("x") == "y"),
    "an operator of known words": lambda: GUARDED.where(TITLE.op("IS DISTINCT FROM")("x")),
    "a field": lambda: select(extract("day", func.now())),
    "a function that is declared harmless": lambda: select(func.reads_nothing(), func.extensions.reads_nothing()),
    "a function of PostgreSQL's, by its schema": lambda: select(func.pg_catalog.lower("x")),
    "a raw name that is one": lambda: select(column(raw("lower_case"))),
    "a guarded update from": lambda: update(Book).where(MINE, owned(Note), NOTE_OF_BOOK).values(title=NOTE_TEXT),
    "an update that names the owner": lambda: update(Book).where(MINE).values(title="x", user_id=OWNER_ID),
    "a guarded delete using": lambda: delete(Book).where(MINE, owned(Note), NOTE_OF_BOOK),
    "insert from a select": lambda: insert(Book).from_select(["user_id", "title"], select(OWNER_ID, literal("x"))),
    "insert into nobody's from a guarded select": lambda: insert(Album).from_select(["name"], GUARDED),
    "insert unless it is there": UPSERT.on_conflict_do_nothing,
    "an upsert of one's own": lambda: UPSERT.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={"title": "x"}, where=MINE
    ),
    "no table": lambda: select(func.now()),
    "RETURNING of a joined table": lambda: (
        update(Book).where(MINE, owned(Note), NOTE_OF_BOOK).values(title="x").returning(NOTE_TEXT)
    ),
    "RETURNING of a used table": lambda: delete(Book).where(MINE, ALBUM_NAME == TITLE).returning(ALBUM_NAME),
    "RETURNING of a subquery": lambda: (
        insert(Book)
        .values(WHOLE_BOOK)
        .returning(TITLE, select(func.max(NOTE_TEXT)).where(owned(Note)).scalar_subquery())
    ),
    "RETURNING of the whole row": lambda: (
        insert(Book).values(WHOLE_BOOK).returning(func.row_to_json(BOOKS.table_valued()))
    ),
    "RETURNING of an alias that is updated": lambda: (
        update(ALIAS).where(owned(ALIAS)).values(title="x").returning(ALIAS.title)
    ),
    "an upsert with the row that is not inserted": lambda: UPSERT.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={"title": UPSERT.excluded.title + TITLE}, where=MINE
    ),
    "FOR UPDATE of a joined table": lambda: (
        select(TITLE).join(Note, NOTE_OF_BOOK).where(MINE, owned(Note)).with_for_update(of=Note)
    ),
    "FOR UPDATE of an alias": lambda: select(ALIAS).where(owned(ALIAS)).with_for_update(of=ALIAS, skip_locked=True),
    "an order of a union": lambda: union(GUARDED, select(NOTE_TEXT).where(owned(Note))).order_by("title"),
    "an order of a subquery by the outer table": lambda: GUARDED.where(
        select(NOTE_TEXT).where(owned(Note)).order_by(NOTE_OF_BOOK).limit(1).scalar_subquery() == TITLE
    ),
    "a lateral subquery": lambda: GUARDED.join(
        lateral(select(NOTE_TEXT).where(owned(Note), NOTE_OF_BOOK).order_by(TITLE)), true()
    ),
    "a window": lambda: select(func.rank().over(order_by=TITLE)).select_from(Book).where(MINE),
    "a recursive CTE": lambda: select(RECURSIVE.union_all(GUARDED.where(RECURSIVE.c.title < TITLE)).c.title),
}


NAMED: dict[str, Callable[[], Any]] = {
    "RETURNING of another table": lambda: update(Book).where(MINE).values(title="x").returning(NOTE_TEXT),
    "RETURNING of nobody's table": lambda: delete(Book).where(MINE).returning(ALBUM_NAME),
    "RETURNING of an alias": lambda: update(Book).where(MINE).values(title="x").returning(ALIAS.title),
    "RETURNING of another table in a function": lambda: (
        insert(Book).values(WHOLE_BOOK).returning(func.lower(NOTE_TEXT))
    ),
    "RETURNING of another's whole row": lambda: (
        insert(Book).values(WHOLE_BOOK).returning(func.row_to_json(NOTES.table_valued()))
    ),
    "RETURNING of a CTE": lambda: insert(Book).values(WHOLE_BOOK).returning(GUARDED.cte().c.title),
    "RETURNING of what an insert has read": lambda: (
        insert(Book)
        .from_select(["user_id", "title"], select(OWNER_ID, NOTE_TEXT).where(owned(Note)))
        .returning(NOTE_TEXT)
    ),
    "FOR UPDATE of another table": lambda: GUARDED.with_for_update(of=Note),
    "FOR UPDATE of another table's column": lambda: GUARDED.with_for_update(of=NOTE_TEXT),
    "FOR UPDATE of an alias": lambda: GUARDED.with_for_update(of=ALIAS),
    "FOR UPDATE of the table of an alias": lambda: select(ALIAS).where(owned(ALIAS)).with_for_update(of=Book),
    "an insert of another's value": lambda: insert(Book).values({**WHOLE_BOOK, "title": NOTE_TEXT}),
    "an upsert with another's value": lambda: UPSERT.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={"title": NOTE_TEXT}, where=MINE
    ),
    "an upsert where another has a value": lambda: UPSERT.on_conflict_do_update(
        index_elements=["user_id", "id"], set_={"title": "x"}, where=MINE & (NOTE_TEXT == "x")
    ),
    "an order by another table": lambda: GUARDED.order_by(NOTE_TEXT),
    "groups by another table": lambda: GUARDED.group_by(NOTE_TEXT),
    "HAVING of another table": lambda: GUARDED.group_by(TITLE).having(NOTE_TEXT == "x"),
    "a limit by another table": lambda: GUARDED.limit(NOTE_ID),
    "DISTINCT ON another table": lambda: GUARDED.ext(postgresql.distinct_on(NOTE_TEXT)),
}


@pytest.mark.parametrize("make", NAMED.values(), ids=NAMED.keys())
def test_a_table_is_not_named_where_it_is_not_read(make: Callable[[], Any]) -> None:
    """PostgreSQL would refuse the statement when it runs."""
    statement = make()
    with pytest.raises(
        TypeError, match=r"named where the statement does not read [\w ]+: join [\w ]+ there, or take the value"
    ):
        Statement(statement)


REFUSALS = (
    r"owned by users|user_id=OWNER_ID|must not change|no SQL text|no model describes|may reach any row|can be checked"
    r"|nobody has said|must take \w+ from a membership|have the name"
)


@pytest.mark.parametrize("make", [*READS.values(), *WRITES.values()], ids=[*READS, *WRITES])
def test_a_statement_that_could_touch_anothers_rows_is_refused(make: Callable[[], Any]) -> None:
    statement = make()
    with pytest.raises(TypeError, match=REFUSALS):
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
    modules = [
        idempotency_records,
        *(import_module(f"app.services.{each.name}") for each in iter_modules(services.__path__)),
    ]
    made = [each for module in modules for each in vars(module).values()]
    statements = [each for each in made if isinstance(each, Statement)]
    made += [each.writing(frozenset()) for each in made if isinstance(each, PartialUpdate)]
    for each in made:
        if isinstance(each, VersionedStatement):
            statements += [each.always, each.guarded]
    assert len(statements) >= 10
    assert all("owner" in statement.names for statement in statements)


def test_a_table_with_owners_cannot_be_public() -> None:
    for each in (
        BOOKS,
        STRANGER,
        table("x", column("USER_ID")),
        Table("y", MetaData(), Column("user_id", key="owner")),
    ):
        with pytest.raises(TypeError, match="belong to users"):
            public(each, reason="There is none.")


def test_who_declares_something_says_why() -> None:
    with pytest.raises(TypeError, match="why"):
        public(table("x"), reason="")
    with pytest.raises(TypeError, match="why"):
        harmless("x", reason="")


def test_a_public_table_that_is_named_like_an_owned_one_is_owned() -> None:
    source = public(table("book", column("title"), schema="archive"), reason="Of this test.")
    with pytest.raises(TypeError, match="owned by users"):
        Statement(select(source.c.title))


# A template string can only be made with Python 3.14.
UNTRIED = {"visit_tstring"}
HOOKS = [
    (guard, name)
    for guard in (KnownCompiler, OwnerCompiler, PlainIdentifiers)
    for name, each in vars(guard).items()
    if isfunction(each) and name not in UNTRIED
]


@pytest.mark.parametrize(("guard", "hook"), HOOKS)
def test_a_guard_that_sqlalchemy_does_not_ask_any_more_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, guard: type, hook: str
) -> None:
    require_guard(Statement)
    monkeypatch.delattr(guard, hook)
    with pytest.raises(SystemExit, match=r"With SQLAlchemy [\d.]+ the guard of users' rows does not refuse this: "):
        require_guard(Statement)


def test_the_guard_is_tried_when_it_is_imported(backend_directory: Path) -> None:
    code = (
        "from groundwork.data.guard_compiler import OwnerCompiler as c; del c._compose_select_body;"
        " import groundwork.data.statement"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=backend_directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("With SQLAlchemy")
    assert done.stderr.count("\n") == 1
