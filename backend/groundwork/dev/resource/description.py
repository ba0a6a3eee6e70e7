"""What a resource is: the name, the members and the owner that the command's line says."""

import re
from dataclasses import dataclass

from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.members import Member, member_of
from groundwork.dev.resource.names import Name, article, name_of

# Columns that each resource has, and names of parameters of the statements and the routes.
_OWN = {"id", "user_id", "created_at", "updated_at", "owner", "limit", "before", "cursor", "condition", "place"}
# In a class, a member of this name would hide the type of the others. The rest are attributes of pydantic's models.
_HIDING = {"date", "datetime", "time", "timedelta", "copy", "json", "dict", "schema", "validate", "construct"}
_HIDING |= {"registry", "metadata", "fields_set", "model"}
# What the route of the list calls its parameters and modules.
_IN_ROUTE = {"database", "request", "response", "found"}
# Of the texts that the tests of all resources write.
_SHORTEST_TITLE = len("Changed")
# PostgreSQL cuts longer names.
_LONGEST_CONSTRAINT = 63


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
    named = name_of(name, plural)
    members = tuple(member_of(each, named) for each in re.findall(r"(?:\([^()]*\)|\S)+", fields))
    resource = Resource(named, members, name_of(owner, "") if owner else None)
    if not members:
        raise ResourceError('Say what it has: FIELDS="name:str(100) due_on:date? archived:bool".')
    for each in members:
        _require_usable(each, resource)
    if len({each.name for each in members}) < len(members):
        raise ResourceError("FIELDS: two members have the same name. Give each its own.")
    return resource


def _require_usable(member: Member, resource: Resource) -> None:
    name, text = member.name, f"FIELDS: {member.name}"
    if name in _OWN | {resource.owner, "user_id"}:
        raise ResourceError(f"{text} is what every resource has, or what its statements need. Write another name.")
    if name in _HIDING or name.startswith("model_"):
        raise ResourceError(f"{text} would hide a name of Python or pydantic. Write another, as {name}_of_it.")
    if name in {resource.name.many, resource.name.one}:
        raise ResourceError(f"{text} is the resource's own name. Write another, as {article(resource.name.words)}'s.")
    if member is resource.filter and name in _IN_ROUTE:
        raise ResourceError(f"{text} filters the list, whose function has this name already. Write another name.")
    constraint = resource.foreign_key(member) if member.refers_to else f"{resource.name.many}_{name}_stripped_check"
    if len(constraint) > _LONGEST_CONSTRAINT:
        raise ResourceError(f"{text} is too long together with {resource.name.many}: write a shorter name for one.")


def _length(member: Member) -> int:
    found = re.search(r"max_length=([\d_]+)", member.options)
    return int(found[1]) if found else 0
