"""Rows that belong to groups of users: what is refused at import, and what PostgreSQL returns to whom."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import (
    Uuid,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    join,
    literal,
    not_,
    or_,
    select,
    true,
    union,
    update,
    values,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased, registry
from sqlalchemy.schema import CreateTable
from sqlmodel import Field, SQLModel, col

from groundwork import ids
from groundwork.data.database import Database
from groundwork.data.known_tables import public
from groundwork.data.ownership import OWNER_ID, fellows, owned
from groundwork.data.rows import insert_for_member, insert_group, owned_row
from groundwork.data.statement import Statement
from groundwork.data.tables import group_column, owner_column, timestamp
from groundwork.data.versions import ALWAYS, Condition, PartialUpdate, Rule, VersionedStatement
from groundwork.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from groundwork.testing import statements as checked
from groundwork.testing.statements import Sent, require_owner_in_each
from groundwork.tests.core import database_at
from groundwork.tests.http import statements_reported


class Base(SQLModel, registry=registry()):
    """Models of these tests, apart from the service's."""


class Member(Base, table=True):
    """A membership of a user in a club."""

    club_id: UUID = group_column(foreign_key="club.id")
    person: str = owner_column()
    role: str


class Club(Base, table=True):
    """A group itself."""

    id: UUID = owner_column(through=Member)
    name: str


class Paper(Base, table=True):
    """Belongs to a group."""

    club: UUID = owner_column(through=Member, foreign_key="club.id")
    id: int = Field(primary_key=True)
    title: str
    author_id: str


class Flag(Base, table=True):
    """Belongs to a group, which has at most one."""

    club_id: UUID = owner_column(through=Member, foreign_key="club.id")
    colour: str


class Pennant(Base, table=True):
    """Belongs to a group, which has at most one. There is no foreign key."""

    club_id: UUID = owner_column(through=Member)
    colour: str


class Note(Base, table=True):
    """Belongs to a group, and has versions."""

    club: UUID = owner_column(through=Member, foreign_key="club.id")
    id: UUID = Field(primary_key=True)
    title: str
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()


class Friend(Base, table=True):
    """A membership of another kind."""

    circle_id: UUID = group_column()
    user_id: str = owner_column()


class PaperRead(BaseModel):
    club: UUID
    id: int
    title: str
    author_id: str


class NoteRead(BaseModel):
    club: UUID
    id: UUID
    title: str
    created_at: datetime
    updated_at: datetime


class MemberRead(BaseModel):
    club_id: UUID
    person: str
    role: str


class ClubRead(BaseModel):
    id: UUID
    name: str


PAPERS: Any = Paper.__table__  # type: ignore[attr-defined]
FLAGS: Any = Flag.__table__  # type: ignore[attr-defined]
NOTES: Any = Note.__table__  # type: ignore[attr-defined]
MEMBERS: Any = Member.__table__  # type: ignore[attr-defined]
CLUBS: Any = Club.__table__  # type: ignore[attr-defined]
ANY_CLUB: Any = bindparam("any_club")
TITLES = select(PAPERS.c.title)
M = MEMBERS.alias()
OTHER: Any = aliased(Paper)
NAMESAKE = MEMBERS.alias("paper")
# The first anonymous alias of the members has this name.
BY_MEMBERS_NAME: Any = aliased(Paper, name="member_1")
LONG: Any = aliased(Paper, name=f"{'x' * 63}a")
LONGER = MEMBERS.alias(f"{'x' * 63}b")
SOMEBODY: Any = bindparam("somebody")


def found(*conditions: Any, columns: Any = None) -> Any:
    """A condition like that of owned(), made by hand."""
    return exists(select(*(columns or [M.c.club_id])).where(*conditions))


IS_MEMBER = (M.c.person == OWNER_ID, M.c.club_id == PAPERS.c.club)
HOIST: Any = insert_for_member(Flag, role="admin")
PAINT: Any = {"colour": bindparam("colour")}
REPAINTED: Any = {"index_elements": ["club_id"], "set_": PAINT}
NEW_CLUB = insert(CLUBS).values(id=bindparam("id"), name="x")


def joining(club: Any) -> Any:
    row = select(club, OWNER_ID, literal("admin"))
    return insert(MEMBERS).from_select(["club_id", "person", "role"], row, include_defaults=False)


def paper(club: Any, *conditions: Any) -> Any:
    row = select(club, literal(1), literal("x"), OWNER_ID).where(*conditions)
    return insert(PAPERS).from_select(["club", "id", "title", "author_id"], row, include_defaults=False)


REFUSED: dict[str, Callable[[], Any]] = {
    "no condition": lambda: TITLES,
    "the club only": lambda: TITLES.where(PAPERS.c.club == ANY_CLUB),
    "the author": lambda: TITLES.where(PAPERS.c.author_id == OWNER_ID),
    "the club is the user": lambda: TITLES.where(PAPERS.c.club == OWNER_ID),
    "somebody else's membership": lambda: TITLES.where(found(M.c.person == SOMEBODY, IS_MEMBER[1])),
    "a membership of another club": lambda: TITLES.where(found(M.c.person == OWNER_ID)),
    "a membership compared with another column": lambda: TITLES.where(
        found(M.c.person == OWNER_ID, M.c.club_id == PAPERS.c.id)
    ),
    "another column of the membership": lambda: TITLES.where(found(M.c.person == OWNER_ID, M.c.role == PAPERS.c.club)),
    "another kind of members": lambda: TITLES.where(
        exists(select(col(Friend.circle_id)).where(owned(Friend), col(Friend.circle_id) == PAPERS.c.club))
    ),
    "no membership": lambda: TITLES.where(not_(owned(Paper))),
    "one of two conditions": lambda: TITLES.where(or_(owned(Paper), true())),
    "a club that is compared or not": lambda: TITLES.where(found(M.c.person == OWNER_ID, or_(IS_MEMBER[1], true()))),
    "a count, which always finds a row": lambda: TITLES.where(found(*IS_MEMBER, columns=[func.count()])),
    "a count beside the club": lambda: TITLES.where(found(*IS_MEMBER, columns=[M.c.club_id, func.count()])),
    "HAVING": lambda: TITLES.where(exists(select(M.c.club_id).where(*IS_MEMBER).having(true()))),
    "a union": lambda: TITLES.where(
        exists(union(select(M.c.club_id).where(*IS_MEMBER), select(M.c.club_id).where(M.c.person == OWNER_ID)))
    ),
    "another paper inside": lambda: TITLES.where(
        exists(select(M.c.club_id).where(*IS_MEMBER, owned(Paper)).correlate(None))
    ),
    "another paper joined inside": lambda: TITLES.where(
        exists(select(M.c.club_id).select_from(join(M, PAPERS, owned(Paper))).where(*IS_MEMBER))
    ),
    "another alias": lambda: TITLES.where(owned(OTHER)),
    "an alias by the table's condition": lambda: select(OTHER).where(owned(Paper)),
    "a membership by the paper's name": lambda: TITLES.where(
        found(NAMESAKE.c.person == OWNER_ID, NAMESAKE.c.club_id == PAPERS.c.club, columns=[NAMESAKE.c.club_id])
    ),
    "a paper by the membership's name": lambda: select(BY_MEMBERS_NAME.title).where(owned(BY_MEMBERS_NAME)),
    "names that differ where they are cut off": lambda: select(LONG.title).where(
        owned(LONG), exists(select(LONGER.c.club_id).where(LONGER.c.person == OWNER_ID))
    ),
    "memberships of a CTE": lambda: TITLES.where(owned(Paper)).add_cte(
        select(ANY_CLUB.label("club_id"), OWNER_ID.label("person")).cte(MEMBERS.name)
    ),
    "a club of VALUES": lambda: TITLES.where(
        found(*IS_MEMBER, values(column("club", Uuid), name="paper").data([(UUID(int=0),)]).c.club == M.c.club_id)
    ),
    "a club of a function": lambda: TITLES.where(
        found(*IS_MEMBER, func.unnest(ANY_CLUB).table_valued("club", name="paper").c.club == M.c.club_id)
    ),
    "a membership that is joined": lambda: TITLES.join(MEMBERS, MEMBERS.c.club_id == PAPERS.c.club).where(
        owned(Member)
    ),
    "all members": lambda: select(MEMBERS),
    "members of any club": lambda: select(MEMBERS).where(MEMBERS.c.club_id == ANY_CLUB),
    "all clubs": lambda: select(CLUBS),
    "update without a condition": lambda: update(PAPERS).values(title="x"),
    "update that moves a paper": lambda: update(PAPERS).where(owned(Paper)).values(club=ANY_CLUB),
    "update that moves oneself": lambda: update(MEMBERS).where(owned(Member)).values(club_id=ANY_CLUB),
    "update that moves another": lambda: update(MEMBERS).where(fellows(Member)).values(person=SOMEBODY),
    "update of every column": lambda: update(PAPERS).where(owned(Paper)),
    "delete by id": lambda: delete(PAPERS).where(PAPERS.c.id == 1),
    "insert into any club": lambda: insert(PAPERS).values(club=ANY_CLUB, id=1, title="x", author_id=OWNER_ID),
    "insert for the user": lambda: insert(PAPERS).values(club=OWNER_ID, id=1, title="x", author_id=OWNER_ID),
    "insert of several": lambda: insert(PAPERS).values([{"club": ANY_CLUB, "id": 1}]),
    "insert from a select of any club": lambda: paper(ANY_CLUB),
    "insert from somebody's membership": lambda: paper(M.c.club_id, M.c.person == SOMEBODY),
    "insert from a paper": lambda: paper(PAPERS.c.club, owned(Paper)),
    "insert from another column": lambda: paper(M.c.role, M.c.person == OWNER_ID),
    "insert from a label": lambda: paper(ANY_CLUB.label("club_id"), M.c.person == OWNER_ID),
    "insert of the one row of any club": lambda: insert(Flag).values(club_id=ANY_CLUB, colour="red"),
    "insert of the one row of any club, without a foreign key": lambda: insert(Pennant).values(
        club_id=ANY_CLUB, colour="red"
    ),
    "overwriting the one row of any club": lambda: (
        postgresql.insert(FLAGS).values(club_id=ANY_CLUB, colour="red").on_conflict_do_update(**REPAINTED)
    ),
    "overwriting a flag of any club": lambda: HOIST.on_conflict_do_update(index_elements=["colour"], set_=PAINT),
    "overwriting by a named constraint": lambda: HOIST.on_conflict_do_update(constraint="flag_pkey", set_=PAINT),
    "moving a flag": lambda: HOIST.on_conflict_do_update(index_elements=["club_id"], set_={"club_id": ANY_CLUB}),
    "joining any club": lambda: joining(ANY_CLUB),
    "joining by values": lambda: insert(MEMBERS).values(club_id=ANY_CLUB, person=OWNER_ID, role="admin"),
    "joining a club of a paper": lambda: joining(select(PAPERS.c.club).where(owned(Paper)).cte().c.club),
    "joining what an insert is said to return": lambda: joining(
        NEW_CLUB.returning(ANY_CLUB.label("id")).cte("made").c.id
    ),
    "joining by another column of a new club": lambda: joining(NEW_CLUB.returning(CLUBS).cte("made").c.name),
    "joining what an update returns": lambda: joining(
        update(CLUBS).where(owned(Club)).values(name="x").returning(CLUBS.c.id).cte("made").c.id
    ),
    "overwriting a club": lambda: (
        postgresql.insert(CLUBS)
        .values(id=ANY_CLUB, name="x")
        .on_conflict_do_update(index_elements=["id"], set_={"name": "x"})
    ),
}

ACCEPTED: dict[str, Callable[[], Any]] = {
    "owned": lambda: TITLES.where(owned(Paper)),
    "owned with a role": lambda: TITLES.where(owned(Paper, role="editor")),
    "owned with one of two roles": lambda: TITLES.where(owned(Paper, role=("editor", "admin"))),
    "by hand": lambda: TITLES.where(found(*IS_MEMBER)),
    "an alias": lambda: select(OTHER).where(owned(OTHER)),
    "a table and its alias": lambda: TITLES.join(OTHER, OTHER.club == PAPERS.c.club).where(owned(Paper), owned(OTHER)),
    "an outer join": lambda: (
        select(CLUBS.c.name, PAPERS.c.title)
        .select_from(CLUBS.outerjoin(PAPERS, (PAPERS.c.club == CLUBS.c.id) & owned(Paper)))
        .where(owned(Club))
    ),
    "the members too": lambda: TITLES.join(MEMBERS, MEMBERS.c.club_id == PAPERS.c.club).where(
        owned(Member), owned(Paper)
    ),
    "one's own memberships": lambda: select(MEMBERS).where(owned(Member)),
    "the fellow members": lambda: select(MEMBERS).where(fellows(Member)),
    "a change of a fellow's role": lambda: (
        update(MEMBERS).where(fellows(Member, role="admin"), MEMBERS.c.person == SOMEBODY).values(role="editor")
    ),
    "leaving": lambda: delete(MEMBERS).where(owned(Member), MEMBERS.c.club_id == ANY_CLUB),
    "update": lambda: update(PAPERS).where(owned(Paper)).values(title="x"),
    "delete": lambda: delete(PAPERS).where(owned(Paper, role="admin")),
    "the one row of a club, new or not": lambda: HOIST.on_conflict_do_update(**REPAINTED),
    "a member, new or not": lambda: insert_for_member(Member, role="admin").on_conflict_do_update(
        index_elements=["club_id", "person"], set_={"role": "editor"}
    ),
    "a new club": lambda: NEW_CLUB,
    "a new club unless it is there": lambda: (
        postgresql.insert(CLUBS).values(id=ANY_CLUB, name="x").on_conflict_do_nothing()
    ),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_statement_that_could_reach_another_groups_rows_is_refused(make: Callable[[], Any]) -> None:
    statement = make()
    with pytest.raises(
        TypeError, match=r"owned by users|have the name|must not change|must take \w+ from a membership"
    ):
        Statement(statement)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_a_statement_that_stays_with_the_users_groups_is_taken(make: Callable[[], Any]) -> None:
    assert Statement(make()).sql


def test_a_role_is_only_asked_for_where_there_are_members() -> None:
    with pytest.raises(TypeError, match="no role"):
        owned(Member, role="admin")
    for none in ((), set[str](), dict[str, str]().values()):
        with pytest.raises(TypeError, match="no role is named"):
            owned(Paper, role=none)
    with pytest.raises(TypeError, match="no table of members"):
        fellows(Paper)


def test_a_groups_table_cannot_be_public() -> None:
    with pytest.raises(TypeError, match="column club"):
        public(Paper, reason="There is none.")


_LIST = Statement(select(Paper).where(owned(Paper)).order_by(PAPERS.c.id), returns=PaperRead)
_LIST_AS_EDITOR = Statement(select(Paper).where(owned(Paper, role=("editor", "admin"))), returns=PaperRead)
_RENAME: Statement[Any] = Statement(
    update(Paper)
    .where(owned(Paper, role="editor"), PAPERS.c.id == bindparam("paper"))
    .values(title=bindparam("title")),
)
_DELETE: Statement[Any] = Statement(delete(Paper).where(owned(Paper), PAPERS.c.id == bindparam("paper")))
_CREATE = Statement(insert_for_member(Paper, role="editor", author_id=OWNER_ID).returning(PAPERS), returns=PaperRead)
_INVITE = Statement(insert_for_member(Member, role="admin").returning(MEMBERS), returns=MemberRead)
_SET_FLAG: Statement[Any] = Statement(HOIST.on_conflict_do_update(**REPAINTED))
_OTHER = Condition([datetime(2001, 1, 1, tzinfo=UTC)])
_HERE = NOTES.c.club == bindparam("club")
_GET_NOTE = Statement(select(Note).where(owned_row(Note), _HERE), returns=NoteRead)
_BY_EDITOR = (owned_row(Note, role="editor"), _HERE)
_CHANGE_NOTE = PartialUpdate(update(Note).where(*_BY_EDITOR), Note, _GET_NOTE, returns=NoteRead)
_DELETE_NOTE = VersionedStatement(delete(Note).where(*_BY_EDITOR), Note, _GET_NOTE)
_KEEP_MINUTES = VersionedStatement(
    delete(Note).where(*_BY_EDITOR), Note, _GET_NOTE, rule=Rule(NOTES.c.title != "Minutes", Conflict)
)
_ADD_NOTE = Statement(insert_for_member(Note, role="editor").returning(NOTES), returns=NoteRead)
_FOUND = Statement(insert_group(Club, Member, role="admin"), returns=ClubRead)
_CLUBS = Statement(select(Club).where(owned(Club)), returns=ClubRead)
_FELLOWS = Statement(select(Member).where(fellows(Member)).order_by(MEMBERS.c.person), returns=MemberRead)
_MINE = Statement(select(Member).where(owned(Member)), returns=MemberRead)


@pytest.fixture
async def database(service_url: str, connection: asyncpg.Connection) -> AsyncIterator[Database]:
    """A database with the tables of these tests."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in (CLUBS, MEMBERS, PAPERS, NOTES, FLAGS):
        await connection.execute(str(CreateTable(table).compile(dialect=dialect)))
    try:
        async with database_at(service_url) as database:
            yield database
    finally:
        await connection.execute("DROP TABLE flag, note, paper, member, club")


async def _found_club(database: Database, owner: str) -> UUID:
    club = await database.one(_FOUND, owner=owner, id=uuid4(), name=f"{owner}'s")
    assert club is not None
    return club.id


async def test_who_founds_a_group_is_its_first_member(database: Database) -> None:
    club = await _found_club(database, "alice")
    assert [each.id for each in await database.all(_CLUBS, owner="alice")] == [club]
    assert await database.all(_CLUBS, owner="mallory") == []
    assert await database.all(_MINE, owner="alice") == [MemberRead(club_id=club, person="alice", role="admin")]


async def test_members_share_rows_by_their_roles_and_strangers_see_nothing(database: Database) -> None:
    club, other = await _found_club(database, "alice"), await _found_club(database, "mallory")
    for person, role in (("bob", "editor"), ("carol", "reader")):
        assert await database.one(_INVITE, owner="alice", club_id=club, person=person, role=role)
    made = await database.one(_CREATE, owner="bob", club=club, id=1, title="Rules")
    assert made == PaperRead(club=club, id=1, title="Rules", author_id="bob")

    for reader in ("alice", "bob", "carol"):
        assert await database.all(_LIST, owner=reader) == [made]
    assert await database.all(_LIST, owner="mallory") == []
    assert len(await database.all(_LIST_AS_EDITOR, owner="alice")) == 1
    assert await database.all(_LIST_AS_EDITOR, owner="carol") == []

    assert await database.execute(_RENAME, owner="bob", paper=1, title="New rules") == 1
    assert await database.execute(_RENAME, owner="carol", paper=1, title="None") == 0
    assert await database.execute(_RENAME, owner="mallory", paper=1, title="None") == 0
    assert await database.execute(_DELETE, owner="mallory", paper=1) == 0

    assert await database.one(_CREATE, owner="carol", club=club, id=2, title="By a reader") is None
    assert await database.one(_CREATE, owner="mallory", club=club, id=2, title="By a stranger") is None
    assert await database.one(_INVITE, owner="mallory", club_id=club, person="mallory", role="admin") is None
    assert await database.one(_INVITE, owner="bob", club_id=club, person="dave", role="admin") is None

    assert [each.person for each in await database.all(_FELLOWS, owner="bob")] == ["alice", "bob", "carol"]
    assert [each.club_id for each in await database.all(_FELLOWS, owner="mallory")] == [other]


async def test_a_role_that_is_too_small_is_said_to_members_only(database: Database) -> None:
    club = await _found_club(database, "alice")
    for person, role in (("bob", "editor"), ("carol", "reader")):
        await database.one(_INVITE, owner="alice", club_id=club, person=person, role=role)
    note = {"club": club, **ids.new_row()}
    made = await database.one(_ADD_NOTE, owner="bob", title="Rules", **note)
    assert made is not None
    key = {"club": club, "id": note["id"]}
    for condition, refused in (
        (ALWAYS, Forbidden),
        (Condition([made.updated_at]), Forbidden),
        (_OTHER, PreconditionFailed),
    ):
        with pytest.raises(refused):
            await _CHANGE_NOTE.one(database, condition, {"title": "None"}, owner="carol", **key)
        with pytest.raises(refused):
            await _DELETE_NOTE.execute(database, condition, owner="carol", **key)
        with pytest.raises(NotFound):
            await _CHANGE_NOTE.one(database, condition, {"title": "None"}, owner="mallory", **key)
        with pytest.raises(NotFound):
            await _DELETE_NOTE.execute(database, condition, owner="mallory", **key)
    assert await _CHANGE_NOTE.one(database, ALWAYS, {}, owner="carol", **key) == made
    changed = await _CHANGE_NOTE.one(database, Condition([made.updated_at]), {"title": "New"}, owner="bob", **key)
    assert changed.title == "New"
    await _DELETE_NOTE.execute(database, ALWAYS, owner="bob", **key)


@pytest.mark.parametrize("title", ["Minutes", "Rules"])
async def test_a_rule_is_said_to_those_who_may_write(database: Database, title: str) -> None:
    club = await _found_club(database, "alice")
    for person, role in (("bob", "editor"), ("carol", "reader")):
        await database.one(_INVITE, owner="alice", club_id=club, person=person, role=role)
    note = {"club": club, **ids.new_row()}
    made = await database.one(_ADD_NOTE, owner="bob", title=title, **note)
    assert made is not None
    key = {"club": club, "id": note["id"]}
    for person, refused in (("mallory", NotFound), ("carol", Forbidden), ("bob", Conflict)):
        for condition in (ALWAYS, Condition([made.updated_at])):
            if (person, title) != ("bob", "Rules"):
                with pytest.raises(refused):
                    await _KEEP_MINUTES.execute(database, condition, owner=person, **key)
    if title == "Rules":
        await _KEEP_MINUTES.execute(database, Condition([made.updated_at]), owner="bob", **key)


async def test_the_one_row_of_a_group_is_set_by_those_who_may(
    database: Database, connection: asyncpg.Connection
) -> None:
    club = await _found_club(database, "alice")
    await database.one(_INVITE, owner="alice", club_id=club, person="bob", role="editor")
    seen = None
    for person, colour, rows in (
        ("alice", "red", 1),
        ("bob", "blue", 0),
        ("mallory", "black", 0),
        ("alice", "white", 1),
    ):
        assert await database.execute(_SET_FLAG, owner=person, club_id=club, colour=colour) == rows
        if rows:
            seen = colour
        assert await connection.fetchval("SELECT string_agg(colour, ' ') FROM flag") == seen


@pytest.fixture
def plugin_knows_the_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin for the tests of a service checks the statements on these tables, too."""
    cached = (checked.owned_tables, checked._users_columns)
    with monkeypatch.context() as patched:
        patched.setattr(checked, "metadata", Base.metadata)
        for each in cached:
            each.cache_clear()
        yield
    for each in cached:
        each.cache_clear()


_PROMOTE: Statement[Any] = Statement(
    update(Member)
    .where(fellows(Member, role="admin"), MEMBERS.c.person == bindparam("person"))
    .values(role=bindparam("role"))
)


@pytest.mark.usefixtures("plugin_knows_the_tables")
async def test_the_plugin_knows_for_whom_each_statement_on_members_is(
    database: Database, sent_statements: list[Sent]
) -> None:
    club = await _found_club(database, "alice")
    assert await database.one(_INVITE, owner="alice", club_id=club, person="bob", role="reader")
    assert await database.execute(_PROMOTE, owner="alice", person="bob", role="editor") == 1
    assert len(await database.all(_MINE, owner="alice")) == 1
    assert len(await database.all(_FELLOWS, owner="alice")) == 2
    await statements_reported()
    require_owner_in_each(sent_statements)
    assert [each.owners() for each in sent_statements if "member" in each.sql] == [{"alice"}] * 5
    with pytest.raises(AssertionError, match="no owner, or more than one"):
        require_owner_in_each([Sent("INSERT INTO member (club_id, person) SELECT club.id, club.name FROM club", ())])
