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
_MOST_NAMES = 5  # in a sentence


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
    newer, or may belong to another branch or to another service. Two copies of one template even share revisions. So
    the database must have all tables and columns that this version needs, at whatever revision it is.

    Raises:
        Behind: migrations of this version have not run.
        Unfit: the encoding is wrong, or tables or columns are missing, or the migrations of another branch have run.
    """
    require_encoding(state.encoding)
    revisions = frozenset(state.revisions)
    unknown = revisions - migrations.known
    if not unknown and not migrations.heads <= revisions:
        raise Behind
    behind = revisions - unknown - migrations.heads if unknown else frozenset()
    missing = _missing({*state.columns})
    if not (behind or missing):
        return
    known = f"{_listed(unknown)}, which this version does not know," if unknown else _listed(revisions)
    lacks = " and ".join(
        f"{verb} {_listed(names)}" for verb, names in (("is behind at", behind), ("lacks", missing)) if names
    )
    causes, remedy = (
        ("another branch has migrated it", "deploy a version that has the migrations of both branches")
        if unknown
        else ("a model has no migration", "write the migration")
    )
    raise Unfit(
        f"the database is at revision {known} and {lacks}: it is another service's, or was restored in part, or"
        f" {causes}; correct the database's name in the URL, or restore the whole dump, or {remedy}"
    )


def _missing(columns: set[str]) -> frozenset[str]:
    """What is needed besides these columns: each column as `table.column`, and a whole table as `table.*`."""
    missing = set()
    for name, each in zip(needed_tables(), metadata.tables.values(), strict=True):
        needed = {f"{name}.{column.name}" for column in each.columns}
        missing |= needed - columns if needed & columns else {f"{name}.*"}
    return frozenset(missing)


def _listed(names: frozenset[str]) -> str:
    shown = sorted(names)[:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
