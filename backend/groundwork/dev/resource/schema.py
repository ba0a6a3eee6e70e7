"""The text of a resource's bodies."""

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.members import Member
from groundwork.dev.resource.model import enum_imports

_IMPORTS = """\
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from groundwork.http.bodies import EXAMPLE_KEY, EXAMPLE_TIMES, Changes, RequestBody, examples
from groundwork.ids import Id, IdIn
from groundwork.text import Text, TrimmedText
"""
PARENT = "0198c0de-7a3d-7b10-8c2f-5e1d0a9b8c7d"
"""The id of another resource in the examples. The tests insert rows with it: `groundwork.testing.rows` has the same."""
_TRIMMED = 'description="White space at its ends is removed."'
_FACTORY = """\
    # A default from a factory stays out of the OpenAPI document. With one there, openapi-typescript makes the member
    # required.
"""


def schema(resource: Resource) -> str:
    """The text of the module."""
    name = resource.name
    aliases = "".join(f"{each.body} = {each.alias}\n" for each in resource.members if each.alias)
    key = "**EXAMPLE_KEY"
    owner = "user_id: str"
    if resource.group:
        key = f'"{resource.owner}": EXAMPLE_KEY["id"], "id": EXAMPLE_KEY["id"]'
        owner = f"{resource.owner}: Id"
    written = {each.name: _example(each) for each in resource.members if _is_in_example(each)}
    referred = "".join(f'"{each.name}": "{PARENT}", ' for each in resource.references if not _is_in_example(each))
    read = f"{key}, **_EXAMPLE, {referred}**EXAMPLE_TIMES"
    return f'''"""The bodies of requests and responses, one class for each role."""

{_IMPORTS}{enum_imports(resource)}
{aliases}
_EXAMPLE: dict[str, Any] = {{{", ".join(f'"{key}": {value}' for key, value in written.items())}}}


class {name.model}Create(RequestBody):
    """A new {name.words}. Unknown members are ignored."""

    model_config = ConfigDict(json_schema_extra=examples(_EXAMPLE))

{_creates(resource)}

class {name.model}Update(Changes):
    """What to change. Members that are left out stay as they are; null clears a member that may be null."""

    model_config = ConfigDict(json_schema_extra=examples({{{_change(resource)}}}))

{"".join(f"    {_update(each)}" for each in resource.members)}

class {name.model}Read(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples({{{read}}}))

    id: Id = Field(description="Sorts by creation (UUIDv7).")
    {owner}
{"".join(f"    {each.name}: {each.or_none(_answer(each))}{chr(10)}" for each in resource.members)}\
    created_at: datetime
    updated_at: datetime = Field(description="Every change makes it later.")
'''


def _is_in_example(member: Member) -> bool:
    """A reference that may be null is left out: the body would work only where that row exists."""
    return not (member.refers_to and member.nullable)


def _example(member: Member) -> str:
    return repr(PARENT if member.refers_to else member.example)


def _creates(resource: Resource) -> str:
    lines = []
    for each in resource.members:
        if each.default and _FACTORY not in lines:
            lines.append(_FACTORY)
        lines.append(f"    {_create(each)}\n")
    return "".join(lines)


def _create(member: Member) -> str:
    start = f"{member.name}: {member.or_none(member.asked)}"
    if member.nullable:
        return f"{start} = None"
    if member.default:
        shown = member.default_shown.replace('"', "'")
        text = f'description="{shown} when it is left out."'
        return f"{start} = Field(default_factory={member.default}, {text})"
    return f"{start} = Field({_TRIMMED})" if member.title else start


def _update(member: Member) -> str:
    empty = "lambda: None" if member.nullable else member.empty
    trimmed = f", {_TRIMMED}" if member.title else ""
    return f"{member.name}: {member.or_none(member.asked)} = Field(default_factory={empty}{trimmed})\n"


def _change(resource: Resource) -> str:
    """The body of an update that changes one member."""
    member = resource.filter or next((each for each in resource.members if not each.refers_to), None)
    return f'"{member.name}": {member.sample!r}' if member else ""


def _answer(member: Member) -> str:
    if member.refers_to:
        return "Id"
    return member.body if member.type == "Decimal" else member.type
