"""How a statement's parameters are written: a list is one parameter, and so is a value that occurs several times."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from sqlalchemy import ARRAY, BindParameter, ColumnElement, Text, Tuple, TypeDecorator, all_, any_, cast
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg
from sqlalchemy.sql.operators import in_op, not_in_op
from sqlalchemy.types import TypeEngine


class ParameterCompiler(PGCompiler_asyncpg):
    """SQLAlchemy's compiler, with `in_()` as ANY of an array."""

    def visit_binary(self, binary: Any, *args: Any, **options: Any) -> Any:
        is_list = isinstance(binary.right, BindParameter) and binary.operator in (in_op, not_in_op)
        if is_list and not isinstance(binary.left, Tuple):
            # A parameter for each value would make a new statement for each length of the list.
            array = _array(binary.right)
            binary = binary.left == any_(array) if binary.operator is in_op else binary.left != all_(array)
        return super().visit_binary(binary, *args, **options)  # type: ignore[no-untyped-call]

    def visit_bindparam(self, bindparam: Any, *args: Any, **options: Any) -> Any:
        return super().visit_bindparam(self._first_of(bindparam), *args, **options)  # type: ignore[no-untyped-call]

    def _first_of(self, parameter: Any) -> Any:
        """The first parameter of the statement with the same fixed value.

        With a parameter for each occurrence, PostgreSQL would not see that date_trunc('day', …) in GROUP BY is the
        expression that is selected.
        """
        if parameter.required or parameter.callable or parameter.expanding:
            return parameter
        try:
            key = type(parameter.type), repr(parameter.type), type(parameter.value), parameter.value
            return self._fixed.setdefault(key, parameter)
        except TypeError:  # the value has no hash
            return parameter

    @cached_property
    def _fixed(self) -> dict[Any, Any]:
        return {}


def _array(values: BindParameter[Any]) -> ColumnElement[Any]:
    """A parameter that takes a list, as an array."""
    type_ = _ArrayText(values.type)
    array = BindParameter(values.key, values.value, type_, required=values.required)
    return cast(array, ARRAY(values.type))


class _ArrayText(TypeDecorator[Any]):
    """A list of values of a type, as text that is cast to an array of it.

    For an array, asyncpg would look up the type on each new connection, which costs round trips. The text's form is in
    the PostgreSQL manual, "Array Input and Output Syntax".
    """

    impl = Text
    cache_ok = True

    def __init__(self, item_type: TypeEngine[Any]) -> None:
        super().__init__()
        self.item_type = item_type

    def process_bind_param(self, value: Iterable[Any] | None, dialect: Any) -> str | None:
        if value is None:
            return None
        process = self.item_type.dialect_impl(dialect).bind_processor(dialect)
        return "{" + ",".join(_item(process(each) if process else each) for each in value) + "}"


def _item(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
