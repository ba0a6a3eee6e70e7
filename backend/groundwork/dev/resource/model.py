"""The text of a resource's model, and of its enumerations."""

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.members import Member, constant
from groundwork.dev.resource.names import article

_IMPORTS = """\
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Interval, Text, false
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from groundwork.data.tables import not_empty, owner_column, stripped, timestamp
from groundwork.data.values import enum_text
"""


def enum_module(resource: Resource, member: Member) -> str:
    """Where an enumeration stands: models and bodies both import it."""
    return f"{resource.name.one}_{member.name}"


def enum_imports(resource: Resource) -> str:
    return "".join(f"from app.core.{enum_module(resource, each)} import {each.type}\n" for each in resource.enums)


def enum(resource: Resource, member: Member) -> str:
    values = "\n".join(f'    {constant(each)} = "{each}"' for each in member.enum)
    return f'''"""What the {member.name.replace("_", " ")} of {article(resource.name.words)} can be."""

from enum import StrEnum


class {member.type}(StrEnum):
{values}
'''


def model(resource: Resource, referred: dict[str, str]) -> str:
    """The text of the module.

    Args:
        resource: what to write.
        referred: by table: the columns of its primary key, as a foreign key names them.
    """
    name = resource.name
    arguments = [] if resource.group else ['not_empty("user_id")']
    arguments += [f'stripped("{each.name}")' for each in resource.members if each.title]
    arguments += [
        f'ForeignKeyConstraint(["{resource.owner}", "{each.name}"], {referred[each.refers_to]})'
        for each in resource.references
    ]
    listed = f"({', '.join(arguments)},)" if len(arguments) == 1 else f"({', '.join(arguments)})"
    table_args = f"    __table_args__ = {listed}\n" if arguments else ""
    columns = "\n".join(f"    {column(each)}" for each in resource.members)
    owner, imports = "user_id: str = owner_column()", ""
    if group := resource.group:
        owner = (
            f"{resource.owner}: UUID = owner_column("
            f'through=Membership, foreign_key="{group.many}.id", ondelete="CASCADE")'
        )
        imports = f"from app.models.{group.one} import Membership\n"
    return f'''"""The table `{name.many}`."""

{_IMPORTS}{imports}{enum_imports(resource)}

class {name.model}(SQLModel, table=True):
    """{article(name.words).capitalize()} of {article(resource.owner_words)}."""

    __tablename__ = "{name.many}"
{table_args}
    {owner}
    id: UUID = Field(primary_key=True)
{columns}
    created_at: datetime = timestamp()
    updated_at: datetime = timestamp()
'''


def column(member: Member) -> str:
    type_ = member.or_none(member.type)
    options = ", ".join(filter(None, ["default=None" if member.nullable else "", member.options]))
    if options == "default=None":
        return f"{member.name}: {type_} = None"
    return f"{member.name}: {type_} = Field({options})" if options else f"{member.name}: {type_}"
