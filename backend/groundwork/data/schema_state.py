"""Checks that a database has what this version of the code needs: encoding, migrations, tables and columns.

One statement reads all of it. The migrations and `/health/ready` both check the result.
"""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Self

from pydantic import BaseModel
from sqlalchemy import ARRAY, Boolean, Text, bindparam, cast, column, func, select, table
from sqlalchemy.dialects import postgresql

from groundwork.data.known_functions import harmless
from groundwork.data.known_tables import public
from groundwork.data.tables import metadata

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

_ENCODING = "UTF8"


class SchemaState(BaseModel):
    """What a database has."""

    encoding: str
    revisions: list[str]
    """Alembic's current revisions: none before the first migration, several when branches are not merged."""
    columns: list[str]
    """The columns of the requested tables, each as `table.column`."""


class Migrations(NamedTuple):
    """The migrations of this version of the code."""

    heads: frozenset[str]
    """The newest revision of each branch."""
    known: frozenset[str]
    """Every revision."""

    @classmethod
    def of(cls, scripts: "ScriptDirectory") -> Self:
        """The migrations of a folder, as Alembic reads it."""
        known = frozenset(script.revision for script in scripts.walk_revisions())
        return cls(heads=frozenset(scripts.get_heads()), known=known)


class Unfit(Exception):
    """The database does not have what this version needs. The message says what to do."""


class Behind(Unfit):
    """Some migrations of this version have not run."""


_version = public(table("alembic_version", column("version_num", Text)), reason="Alembic's revision of the schema.")
_attribute = public(
    table("pg_attribute", column("attrelid"), column("attname"), column("attnum"), column("attisdropped", Boolean)),
    reason="PostgreSQL's list of columns.",
)
harmless("to_regclass", reason="It looks up the name of a table and reads no row.")
_name = func.unnest(bindparam("tables", type_=ARRAY(Text)), type_=Text).column_valued("name")
_present = select(_name.concat(".").concat(cast(_attribute.c.attname, Text))).where(
    _attribute.c.attrelid == func.to_regclass(_name), _attribute.c.attnum > 0, ~_attribute.c.attisdropped
)
SCHEMA_STATE = select(
    func.current_setting("server_encoding", type_=Text).label("encoding"),
    func.array(select(_version.c.version_num).scalar_subquery(), type_=ARRAY(Text)).label("revisions"),
    func.array(_present.scalar_subquery(), type_=ARRAY(Text)).label("columns"),
)
"""Returns one row, a `SchemaState`, for the parameter `tables=needed_tables()`. It fails without Alembic's table."""


@cache
def needed_tables() -> list[str]:
    """The names of the models' tables, quoted where PostgreSQL requires it."""
    format_table = postgresql.dialect().identifier_preparer.format_table  # type: ignore[no-untyped-call]
    return [format_table(each) for each in metadata.tables.values()]


def require_encoding(encoding: str) -> None:
    """Check the database's encoding.

    Raises:
        Unfit: it is not UTF-8, so the database cannot hold every text.
    """
    if encoding != _ENCODING:
        raise Unfit(
            f"the database's encoding is {encoding}, which cannot hold every text: make one with"
            f" CREATE DATABASE … ENCODING '{_ENCODING}' TEMPLATE template0, and move the data with pg_dump"
        )


def require_fit(state: SchemaState, migrations: Migrations) -> None:
    """Check that this version can serve with the database as it is.

    During a roll-out, the old version goes on serving on a newer schema. A revision that a version does not know may be
    newer, or may belong to another branch. It is taken as newer if the database has all tables and columns that this
    version needs.

    Raises:
        Behind: migrations of this version have not run.
        Unfit: the encoding is wrong, or the migrations of another branch have run instead.
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
