"""A reference to rows of another resource, which then refuses to delete a row that is referred to."""

import ast
import re
from dataclasses import dataclass

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.edits import imported
from groundwork.dev.resource.errors import ResourceError
from groundwork.dev.resource.members import Member
from groundwork.dev.resource.names import Name
from groundwork.dev.resource.tree import Change, LineError, Tree

_CONFLICT = "from groundwork.http.idempotency import CONFLICT\n"
_IN_USE = re.compile(r"(?ms)^_IN_USE = (\{.*?\})\n+")
_DELETE = "_DELETE = VersionedStatement("
_LINE = 120


@dataclass(frozen=True)
class Target:
    """The resource to whose rows a reference leads.

    Args:
        name: the singular, as its model's name says.
        table: its table, which also is the name of its modules.
        owner: the column that says whose its rows are.
    """

    name: str
    table: str
    owner: str

    @property
    def constant(self) -> str:
        """The name of its entry in the tests."""
        return self.name.upper()

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")

    @property
    def key(self) -> str:
        """The columns of its primary key, as a foreign key names them."""
        return f'["{self.table}.{self.owner}", "{self.table}.id"]'


def targets_of(resource: Resource, tree: Tree) -> dict[str, Target]:
    """The resources that it refers to, by table.

    Raises:
        ResourceError: there is none with this table, or its rows have another owner.
    """
    found = {each.refers_to: _target(each, resource, tree) for each in resource.references}
    for target in found.values():
        if target.owner != resource.owner:
            raise ResourceError(
                f"The rows of {target.table} belong to {_whose(target.owner)}, those of {resource.name.many} to"
                f" {_whose(resource.owner)}. A reference stays with one owner: set OWNER accordingly, or leave"
                " ref(…) out."
            )
    return found


def _whose(owner: str) -> str:
    return f"each {owner.removesuffix('_id')}"


def _target(member: Member, resource: Resource, tree: Tree) -> Target:
    table = member.refers_to
    if table == resource.name.many:
        return Target(resource.name.one, table, resource.owner)
    for path in tree.paths("app/models/*.py"):
        text = tree.read(path)
        classes = re.split(r"(?m)^class (?=\w+\(SQLModel, table=True\))", text)[1:]
        for each in classes:
            if f'__tablename__ = "{table}"' in each:
                owner = re.search(r"(\w+): \w+ = owner_column\(", each)
                if not owner or not tree.exists(f"app/services/{table}.py"):
                    raise ResourceError(
                        f"ref({table}): write backend/app/services/{table}.py first, as every resource has it."
                    )
                return Target(_snake(each.partition("(")[0]), table, owner[1])
    raise ResourceError(f"ref({table}): no model in backend/app/models has this table. Write the table of a resource.")


def _snake(model: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower()


def sentence(target: Target, resource: Resource, member: Member) -> str:
    """What a client is told that deletes a row which is referred to."""
    many = resource.name.words_of_many
    texts = [f"The {target.words} has {many}: delete them first.", f"Delete its {many} first."]
    if member.nullable:
        texts.insert(0, f"The {target.words} has {many}: delete them, or change their {member.name}, first.")
    room = _LINE - len(f'    "{resource.foreign_key(member)}": "",')
    return next((text for text in texts if len(text) <= room), texts[-1])


def refer(tree: Tree, resource: Resource, targets: dict[str, Target]) -> None:
    """Let the resources that are referred to say so when they are deleted."""
    for each in resource.references:
        target = targets[each.refers_to]
        new = {resource.foreign_key(each): sentence(target, resource, each)}
        tree.change(f"app/services/{target.table}.py", _in_use(new, {}), _raises(target, resource.name))
        tree.change(f"app/routes/{target.table}.py", _answers_conflict, imported(_CONFLICT))


def unrefer(tree: Tree, resource: Resource, targets: dict[str, Target]) -> None:
    """Take back what `refer` has done."""
    for each in resource.references:
        target = targets[each.refers_to]
        service = f"app/services/{target.table}.py"
        old = {resource.foreign_key(each): sentence(target, resource, each)}
        tree.change(service, _in_use({}, old), _raises_no_longer(target, resource.name))
        if not _IN_USE.search(tree.read(service)):
            tree.change(f"app/routes/{target.table}.py", _answers_no_conflict)


def _in_use(new: dict[str, str], old: dict[str, str]) -> Change:
    """Change what the statement that deletes tells about constraints: add the new ones, and remove the old ones."""

    def change(text: str) -> str:
        found = _IN_USE.search(text)
        known: dict[str, str] = ast.literal_eval(found[1]) if found else {}
        if not old.items() <= known.items():
            raise LineError(f"no longer has {old} in _IN_USE: take the resource out by hand.")
        wanted = {name: said for name, said in {**known, **new}.items() if name not in old}
        text = _IN_USE.sub("", text)
        text = re.sub(r",\s*conflicts=_IN_USE,?\s*\)", ")", text)
        if not wanted:
            return text
        begin, end = _statement(text)
        if "conflicts=" in text[begin:end]:
            raise LineError(f"has conflicts= in _DELETE already: call its dictionary _IN_USE, so that {new} is added.")
        text = f"{text[:end].rstrip().rstrip(',')}, conflicts=_IN_USE{text[end:]}"
        first = re.search(r"(?m)^_?[A-Z]+ = (Statement|Listing)\(", text)
        at = first.start() if first else begin
        return f"{text[:at]}_IN_USE = {wanted}\n\n{text[at:]}"

    return change


def _statement(text: str) -> tuple[int, int]:
    """Where the arguments of the statement that deletes begin and end."""
    begin = text.find(_DELETE)
    if begin < 0:
        raise LineError(f"has no line {_DELETE}…): let it delete by one, as docs/add-a-resource.md does.")
    end, depth = begin + len(_DELETE), 1
    while depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return begin, end - 1


def _raises(target: Target, name: Name) -> Change:
    """Name the error in the docstring of the function that deletes, if it has a part `Raises`."""
    line = _raised(target, name)

    def change(text: str) -> str:
        found = re.search(rf'async def delete_{target.name}\([^"]*"""[^"]*\n    Raises:\n(        .*\n)*', text)
        return f"{text[: found.end()]}{line}{text[found.end() :]}" if found and line not in text else text

    return change


def _raises_no_longer(target: Target, name: Name) -> Change:
    return lambda text: text.replace(_raised(target, name), "")


def _raised(target: Target, name: Name) -> str:
    return f"        Conflict: the {target.words} has {name.words_of_many}.\n"


def _answers_conflict(text: str) -> str:
    found = re.search(r"(?s)@router\.delete\(.*?responses=(DELETED|\{[^}]*\})", text)
    if not found:
        raise LineError("has no @router.delete(…, responses=DELETED, …): declare its answers so.")
    if "CONFLICT" in found[1]:
        return text
    parts = found[1].strip("{}") if found[1].startswith("{") else f"**{found[1]}"
    return f"{text[: found.start(1)]}{{{parts}, **CONFLICT}}{text[found.end(1) :]}"


def _answers_no_conflict(text: str) -> str:
    def without(found: re.Match[str]) -> str:
        parts = [part for part in re.findall(r"\*\*\w+", found[2]) if part != "**CONFLICT"]
        return found[1] + (parts[0].lstrip("*") if len(parts) == 1 else f"{{{', '.join(parts)}}}")

    return re.sub(r"(?s)(@router\.delete\([^)]*?responses=)(\{[^}]*\})", without, text, count=1)
