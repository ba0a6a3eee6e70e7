"""What a resource is: the name, the members and the owner that the command's line says."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.members import Member, member_of
from groundwork.dev.resource.names import Name, name_of

# Columns that each resource has, and parameters of its statements, each with another name that would do.
_OWN = {
    "id": "external_id",
    "user_id": "assignee_id",
    "created_at": "made_at",
    "updated_at": "changed_at",
    "owner": "owner_name",
    "statement": "statement_text",
    "any_of": "any_of_them",
    "none_of": "none_of_them",
}
# In a class, a member of this name would hide the type of the others. The rest are attributes of pydantic's models.
_HIDING = {"date", "datetime", "time", "timedelta", "copy", "json", "dict", "schema", "validate", "construct"}
_HIDING |= {"registry", "metadata", "fields_set", "model", "str", "int", "float", "bool", "false", "timestamp"}
_HIDING |= {"stripped", "not_empty", "owner_column", "enum_text", "examples"}
# What the function and the statement of the list call their parameters and modules.
_IN_LIST = {"database", "request", "response", "found", "limit", "before", "cursor", "place"}
# Of the texts that the tests of all resources write.
_SHORTEST_TITLE = len("Changed")
# PostgreSQL cuts longer names.
_LONGEST_CONSTRAINT = 63
Made = TypeVar("Made")


@dataclass(frozen=True)
class Resource:
    """A resource that is to be written.

    Args:
        name: its name.
        members: what its bodies have.
        group: the name of the groups that own the rows; None if users do.
    """

    name: Name
    members: tuple[Member, ...]
    group: Name | None = None

    @property
    def owner(self) -> str:
        """The column that says whose a row is."""
        return f"{self.group.one}_id" if self.group else "user_id"

    @property
    def owner_words(self) -> str:
        return self.group.words if self.group else "user"

    @property
    def filter(self) -> Member | None:
        """The member by which the list is filtered: the first that has few values and always one."""
        return next((each for each in self.members if each.default and each.type == "bool"), None) or next(
            (each for each in self.members if each.default), None
        )

    @property
    def title(self) -> Member | None:
        """The text by which the tests of all resources tell rows apart."""
        return next((each for each in self.members if each.title and _length(each) >= _SHORTEST_TITLE), None)

    @property
    def references(self) -> list[Member]:
        return [each for each in self.members if each.refers_to]

    @property
    def enums(self) -> list[Member]:
        return [each for each in self.members if each.enum]

    def foreign_key(self, member: Member) -> str:
        """The name of the constraint that a reference has."""
        return f"{self.name.many}_{self.owner}_{member.name}_fkey"


def described(name: str, fields: str, plural: str = "", owner: str = "") -> Resource:
    """The resource of a command's line.

    Args:
        name: NAME, in the singular.
        fields: FIELDS, apart by spaces.
        plural: PLURAL, or nothing.
        owner: OWNER, the singular of the groups' name, or nothing.

    Raises:
        ResourceError: the line cannot be understood, or what it says cannot be done.
    """
    problems: list[str] = []
    named = tried(problems, lambda: name_of(name, plural)) or Name(name, plural or f"{name}s")
    group = tried(problems, lambda: name_of(owner, "", "OWNER")) if owner else None
    if group and group.one == named.one:
        problems.append(f"OWNER={owner}: the resource itself has this name. Write another NAME, as NAME={owner}_entry.")
    written = re.findall(r"(?:\([^()]*\)|\S)+", fields)
    if any(re.search(r",(?![^(]*\))", each) for each in written):
        problems.append(
            f"FIELDS: write spaces between the members, and no commas: {' '.join(_apart(written))!r}. Only what stands in"
            " brackets has commas, as decimal(10,2)."
        )
    members = tuple(filter(None, (tried(problems, partial(member_of, each, named)) for each in _apart(written))))
    resource = Resource(named, members, group)
    if not written:
        problems.append('Say what it has: FIELDS="name:str(100) due_on:date? archived:bool".')
    for each in members:
        tried(problems, partial(_require_usable, each, resource))
    if len({each.name for each in members}) < len(members):
        problems.append("FIELDS: two members have the same name. Give each its own.")
    if problems:
        raise ResourceError("\n".join(problems))
    return resource


def tried(problems: list[str], make: Callable[[], Made]) -> Made | None:
    """What the function makes, or None and one more problem."""
    try:
        return make()
    except ResourceError as error:
        problems.append(str(error))
        return None


def _apart(written: list[str]) -> list[str]:
    """The members without commas between them."""
    return [part for each in written for part in re.split(r",(?![^(]*\))", each) if part]


def _require_usable(member: Member, resource: Resource) -> None:
    name, text = member.name, f"FIELDS: {member.name}"
    if name in _OWN or name == resource.owner:
        raise ResourceError(
            f"{text} is what every resource has already, or what its statements need. Leave it out, or write another name,"
            f" as {_OWN.get(name, f'own_{name}')}."
        )
    if name in _HIDING or name.startswith("model_"):
        raise ResourceError(f"{text} would hide a name of Python or pydantic. Write another name, as {name}_of_it.")
    if name in {resource.name.many, resource.name.one}:
        raise ResourceError(
            f"{text} is the resource's own name. Write another name, as {resource.name.one}_{_kind(member)}."
        )
    if member is resource.filter and name in _IN_LIST:
        raise ResourceError(
            f"{text} filters the list, which has something else of this name already. Write another name, as own_{name}."
        )
    constraint = resource.foreign_key(member) if member.refers_to else f"{resource.name.many}_{name}_stripped_check"
    if len(constraint) > _LONGEST_CONSTRAINT:
        raise ResourceError(f"{text} is too long together with {resource.name.many}: write a shorter name for one.")


def _kind(member: Member) -> str:
    """An ending for another name, by the type."""
    return {"str": "name", "date": "date", "datetime": "time", "int": "number"}.get(member.type, "value")


def _length(member: Member) -> int:
    found = re.search(r"max_length=([\d_]+)", member.options)
    return int(found[1]) if found else 0
