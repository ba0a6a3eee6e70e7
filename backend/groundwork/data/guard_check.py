"""Checks that the compiler of `data.guard_compiler` refuses every kind of unguarded statement.

The compiler overrides methods of SQLAlchemy's compiler, some of them private. If a new SQLAlchemy called other methods
instead, every statement would pass, and nothing would show it. So the program starts only if each unguarded statement
in this file is refused.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import column, delete, extract, func, insert, literal_column, select, table, text, true, update, values
from sqlalchemy.sql.elements import UnaryExpression, quoted_name
from sqlalchemy.sql.operators import custom_op

from groundwork.data.known_tables import PROBE, public
from groundwork.data.ownership import OWNER_ID

_public = public(table("guard_probe_public", column("value")), reason="It is in no database.")
_unknown = table("guard_probe", column("value"))
_value: Any = _public.c.value
_guarded = select(PROBE.c.value).where(PROBE.c.user_id == OWNER_ID)
_other = _public.alias()
_alias = PROBE.alias("guard_alias")
_operator: Any = custom_op("OR 1 =")

_UNGUARDED: dict[str, Callable[[], Any]] = {
    "select": lambda: select(PROBE.c.value),
    "select in a subquery": lambda: select(_public.c.value).where(_public.c.value.in_(select(PROBE.c.value))),
    "select from an alias": lambda: select(PROBE.alias().c.value),
    "CTE by a table's name": lambda: _guarded.add_cte(select(_value).cte(PROBE.name)),
    "CTE by an alias's name": lambda: (
        select(_alias.c.value).where(_alias.c.user_id == OWNER_ID).add_cte(select(_value).cte(_alias.name))
    ),
    "VALUES by a table's name": lambda: _guarded.where(values(_value, name=PROBE.name).data([("x",)]).c.value == "x"),
    "select from a join in parentheses": lambda: select(_value).join(_other.join(PROBE, true()), true()),
    "insert": lambda: insert(PROBE).values(value="x"),
    "insert of what a select returns": lambda: insert(PROBE).from_select(["user_id"], select(_public.c.value)),
    "update": lambda: update(PROBE).values(value="x"),
    "update from another table": lambda: update(_public).where(_public.c.value == PROBE.c.value).values(value="x"),
    "delete": lambda: delete(PROBE),
    "delete using another table": lambda: delete(_public).where(_public.c.value == PROBE.c.value),
    "select from an unknown table": lambda: select(_unknown.c.value),
    "insert into an unknown table": lambda: insert(_unknown).values(value="x"),
    "call of an unknown function": lambda: select(func.guard_probe()),
    "a column of a table that is not read": lambda: insert(_public).values(value="x").returning(PROBE.c.value),
    "a lock on an alias that is not read": lambda: _guarded.with_for_update(of=_alias),
    "SQL text": lambda: select(text("1")),
    "SQL text as a column": lambda: select(literal_column("1")),
    "SQL text as an operator": lambda: select(_value.op("OR 1 =")(1)),
    "SQL text as an operator before a value": lambda: select(UnaryExpression(_value, operator=_operator)),
    "SQL text as an operator after a value": lambda: select(UnaryExpression(_value, modifier=_operator)),
    "SQL text as a field of a time": lambda: select(extract("day FROM now()) OR (1", _value)),
    "SQL text as a hint": lambda: select(_value).with_statement_hint("UNION SELECT 1"),
    "SQL text as a name": lambda: select(_value.label(quoted_name("a, 1", quote=False))),
}


def require_guard(compile_: Callable[[Any], Any]) -> None:
    """Compile one statement that must pass, and many that must not.

    Args:
        compile_: compiles a statement under the guard, and raises TypeError to refuse it.

    Raises:
        SystemExit: a statement that reaches any user's rows is not refused.
        TypeError: a guarded statement is refused.
    """
    compile_(_guarded)
    for name, make in _UNGUARDED.items():
        try:
            compile_(make())
        except TypeError:
            continue
        raise SystemExit(
            f"With SQLAlchemy {sqlalchemy.__version__} the guard of users' rows does not refuse this: {name}. Install"
            " the version that requirements.txt names."
        )
