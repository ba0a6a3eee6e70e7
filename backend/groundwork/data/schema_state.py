"""Whether a database is what this version of the code needs: its encoding, its migrations, its tables and columns.

One statement asks for all of it. What it tells is judged in two places: by the migrations, and by `/health/ready`.
"""

from functools import cache
from typing import NamedTuple

from pydantic import BaseModel
from sqlalchemy import ARRAY, Boolean, Text, bindparam, cast, column, func, select, table
from sqlalchemy.dialects import postgresql

from groundwork.data.known_functions import harmless
from groundwork.data.known_tables import public
from groundwork.data.tables import metadata

_ENCODING = "UTF8"


class SchemaState(BaseModel):
    encoding: str
    revisions: list[str]
    """Those that the database is at: none before the first migration, several between two branches."""
    columns: list[str]
    """`table.column`, of those tables that were asked for."""


class Migrations(NamedTuple):
    """Those of this version."""

    heads: frozenset[str]
    known: frozenset[str]


class Unfit(Exception):
    """The database is not what this version needs; the message says what to do."""


class Behind(Unfit):
    """Migrations of this version have not run."""


_version = public(table("alembic_version", column("version_num", Text)), reason="Alembic's: the schema's revision.")
_attribute = public(
    table("pg_attribute", column("attrelid"), column("attname"), column("attnum"), column("attisdropped", Boolean)),
    reason="PostgreSQL's: the columns of all tables.",
)
harmless("to_regclass", reason="It looks for the name of a table, and reads no row.")
_name = func.unnest(bindparam("tables", type_=ARRAY(Text)), type_=Text).column_valued("name")
_present = select(_name.concat(".").concat(cast(_attribute.c.attname, Text))).where(
    _attribute.c.attrelid == func.to_regclass(_name), _attribute.c.attnum > 0, ~_attribute.c.attisdropped
)
SCHEMA_STATE = select(
    func.current_setting("server_encoding", type_=Text).label("encoding"),
    func.array(select(_version.c.version_num).scalar_subquery(), type_=ARRAY(Text)).label("revisions"),
    func.array(_present.scalar_subquery(), type_=ARRAY(Text)).label("columns"),
)
"""One row of a `SchemaState`, for `tables=needed_tables()`. It fails without Alembic's table."""


@cache
def needed_tables() -> list[str]:
    """The models' tables, quoted where PostgreSQL needs it."""
    format_table = postgresql.dialect().identifier_preparer.format_table  # type: ignore[no-untyped-call]
    return [format_table(each) for each in metadata.tables.values()]


def require_encoding(encoding: str) -> None:
    """
    Raises:
        Unfit: the database cannot hold every text.
    """
    if encoding != _ENCODING:
        raise Unfit(
            f"the database's encoding is {encoding}, which cannot hold every text: make one with"
            f" CREATE DATABASE … ENCODING '{_ENCODING}' TEMPLATE template0, and move what there is with pg_dump"
        )


def require_fit(state: SchemaState, migrations: Migrations) -> None:
    """During a roll-out the old version goes on serving: a revision that it does not know is newer, or of another
    branch. Whether what it needs is there tells which.

    Raises:
        Unfit: this version cannot serve with the database as it is.
    """
    require_encoding(state.encoding)
    revisions = frozenset(state.revisions)
    unknown = revisions - migrations.known
    if not unknown:
        if not migrations.heads <= revisions:
            raise Behind
        return
    lacking = _needed_columns() - {*state.columns} or (revisions & migrations.known) - migrations.heads
    if lacking:
        raise Unfit(
            f"the database is at revision {_listed(unknown)}, which this version does not know, and is behind at"
            f" {_listed(lacking)}: another branch has migrated it; deploy a version that has the migrations of both"
        )


def _needed_columns() -> frozenset[str]:
    named = zip(needed_tables(), metadata.tables.values(), strict=True)
    return frozenset(f"{name}.{each.name}" for name, table in named for each in table.columns)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:5])
