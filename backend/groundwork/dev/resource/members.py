"""The members of a resource: what each type is in the table, in the bodies, in the answers and in the tests."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.names import Name, joined, require_name

_MOST_CHARACTERS = 10_000_000  # of a PostgreSQL varchar
_MOST_DIGITS = 1000  # of a PostgreSQL numeric
# The bodies' module has these names already.
_TAKEN = {"Annotated", "Any", "BaseModel", "Changes", "ConfigDict", "Decimal", "Field", "Id", "RequestBody", "Text"}


@dataclass(frozen=True)
class Member:
    """A member, and the column that holds it. Types and values are written as in Python.

    Args:
        name: as the bodies and the table have it.
        type: of the column and of answers.
        options: of the column, as arguments of `Field`.
        body: the type in requests.
        alias: what `body` stands for, if it is a name for a longer type.
        example: in the OpenAPI document. None for what has no value yet, such as an id.
        sample: a value in the tests that is not the default.
        empty: makes some value of the type. An update never writes it.
        default: makes the value of a member that is left out. Without it, the member is required or may be null.
        default_shown: that value, as JSON.
        nullable: whether it may be null.
        title: whether it is a text without white space at its ends.
        refers_to: the table whose row it names.
        enum: the values of an enumeration.
    """

    name: str
    type: str
    options: str = ""
    body: str = ""
    alias: str = ""
    example: Any = None
    sample: Any = None
    empty: str = ""
    default: str = ""
    default_shown: str = ""
    nullable: bool = False
    title: bool = False
    refers_to: str = ""
    enum: tuple[str, ...] = ()

    @property
    def is_required(self) -> bool:
        return not self.nullable and not self.default

    @property
    def asked(self) -> str:
        """The type in requests."""
        return self.body or self.type

    def or_none(self, type_: str) -> str:
        return f"{type_} | None" if self.nullable else type_


class _Written(NamedTuple):
    """A member as the command's line says it: its type's arguments, and whether it may be null."""

    name: str
    arguments: list[str]
    resource: Name
    nullable: bool


def member_of(written: str, resource: Name) -> Member:
    """The member that is written as `name:type`, with a question mark after it if it may be null.

    Raises:
        ResourceError: it is not written so.
    """
    found = re.fullmatch(r"(\w+):(\w+)(?:\(([^()]*)\))?(\?)?", written)
    if not found:
        raise ResourceError(
            f"FIELDS: {written!r} is not understood. Write a name, a colon and a type, with ? after it if it may be"
            " null, as in due_on:date?"
        )
    name, kind, inside, mark = found.groups()
    require_name(name, f"FIELDS: {written}")
    if kind not in _KINDS:
        raise ResourceError(
            f"FIELDS: there is no type {kind!r}. Use one of {', '.join(sorted(_WRITTEN.values()))}. Write others by hand, as"
            " backend/groundwork/docs/values.md shows."
        )
    arguments = [each.strip() for each in inside.split(",")] if inside else []
    member = _KINDS[kind](_Written(name, arguments, resource, nullable=bool(mark)))
    if member is None:
        raise ResourceError(f"FIELDS: {written!r} is not understood. Write it as {name}:{_WRITTEN[kind]}.")
    return replace(member, nullable=bool(mark), default="" if mark else member.default)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _alias(name: str, resource: Name) -> str:
    """A name for the type in requests, which no other type has."""
    own = joined(name)
    return f"{resource.model}{own}" if own in _TAKEN or own.startswith(resource.model) else own


def _numbers(arguments: list[str], count: int) -> list[int] | None:
    return [int(each) for each in arguments] if len(arguments) == count and all(map(str.isdecimal, arguments)) else None


def _str(written: _Written) -> Member | None:
    name, length = written.name, _numbers(written.arguments, 1)
    if not length or not 1 <= length[0] <= _MOST_CHARACTERS:
        return None
    alias = _alias(name, written.resource)
    kind = "Text" if written.nullable else "TrimmedText"
    example = _words(name)[: length[0]].strip()
    return Member(
        name,
        "str",
        f"max_length={length[0]}",
        alias,
        f"Annotated[str, {kind}({length[0]})]",
        example,
        example,
        "str",
        title=not written.nullable,
    )


def _plain(type_: str, example: Any, empty: str, options: str = "") -> Callable[[_Written], Member | None]:
    def kind(written: _Written) -> Member | None:
        if written.arguments:
            return None
        return Member(written.name, type_, options, example=example, sample=example, empty=empty)

    return kind


def _text(written: _Written) -> Member | None:
    words = _words(written.name)
    return None if written.arguments else Member(written.name, "str", "sa_type=Text", "", "", words, words, "str")


def _bool(written: _Written) -> Member | None:
    options = "" if written.nullable else 'default=False, sa_column_kwargs={"server_default": false()}'
    if written.arguments:
        return None
    return Member(
        written.name, "bool", options, example=False, sample=True, empty="bool", default="bool", default_shown="False"
    )


def _decimal(written: _Written) -> Member | None:
    name, numbers = written.name, _numbers(written.arguments, 2)
    if not numbers or not 1 <= numbers[0] <= _MOST_DIGITS or numbers[1] > numbers[0]:
        return None
    digits, places = numbers
    whole = "12"[: digits - places] or "0"
    value = f"{whole}.{'50'.ljust(places, '0')[:places]}" if places else whole
    options = f"max_digits={digits}, decimal_places={places}"
    alias = _alias(name, written.resource)
    return Member(name, "Decimal", options, alias, f"Annotated[Decimal, Field({options})]", value, value, "Decimal")


def _enum(written: _Written) -> Member | None:
    arguments = written.arguments
    constants = [constant(each) for each in arguments]
    if (
        not arguments[1:]
        or len(set(constants)) < len(constants)
        or not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", each) for each in arguments)
    ):
        return None
    type_ = f"{written.resource.model}{joined(written.name)}"
    first = f"{type_}.{constants[0]}"
    default = "" if written.nullable else f', sa_column_kwargs={{"server_default": {first}}}'
    return Member(
        written.name,
        type_,
        f"sa_type=enum_text({type_}){default}",
        example=arguments[0],
        sample=arguments[1],
        empty=f"lambda: {first}",
        default=f"lambda: {first}",
        default_shown=f'"{arguments[0]}"',
        enum=tuple(arguments),
    )


def constant(value: str) -> str:
    """The name of an enumeration's member with this value."""
    return value.replace("-", "_").upper()


def _ref(written: _Written) -> Member | None:
    if len(written.arguments) != 1 or not re.fullmatch(r"\w+", written.arguments[0]):
        return None
    name, [table] = f"{written.name}_id", written.arguments
    return Member(name, "UUID", "", "IdIn", empty="lambda: UUID(int=0)", refers_to=table)


def _json(written: _Written) -> Member | None:
    if written.arguments:
        return None
    value = {"key": "value"}
    # Otherwise None would be stored as JSON's null.
    options = "sa_type=JSONB(none_as_null=True)" if written.nullable else "sa_type=JSONB"
    return Member(written.name, "dict[str, Any]", options, example=value, sample=value, empty="dict")


_KINDS: dict[str, Callable[[_Written], Member | None]] = {
    "str": _str,
    "text": _text,
    "int": _plain("int", 5, "int", "sa_type=BigInteger"),
    "float": _plain("float", 1.5, "float"),
    "bool": _bool,
    "decimal": _decimal,
    "date": _plain("date", "2026-11-23", "lambda: date(1970, 1, 1)"),
    "datetime": _plain(
        "datetime",
        "2026-11-23T17:39:08Z",
        "lambda: datetime(1970, 1, 1, tzinfo=UTC)",
        "sa_type=DateTime(timezone=True)",
    ),
    "time": _plain("time", "17:39:08", "time"),
    "timedelta": _plain("timedelta", "P1DT2H", "timedelta", "sa_type=Interval"),
    "uuid": _plain("UUID", "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c7d", "lambda: UUID(int=0)"),
    "enum": _enum,
    "json": _json,
    "ref": _ref,
}
_WRITTEN = {name: name for name in _KINDS} | {
    "str": "str(100)",
    "decimal": "decimal(10,2)",
    "enum": "enum(open,done)",
    "ref": "ref(tasks)",
}
