"""The text of a resource's service: its statements, and the functions that run them."""

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.model import enum_imports
from groundwork.dev.resource.names import article

_IMPORTS = """\
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, update
from sqlmodel import col, select

from app.core.place import Place
from groundwork import ids
from groundwork.data.database import Executor
from groundwork.data.ownership import owned
from groundwork.data.rows import LIMIT, before_cursor, insert_for_member, insert_values, optional_equals, owned_row, require_found
from groundwork.data.statement import Statement
from groundwork.data.versions import ALWAYS, Condition, PartialUpdate, VersionedStatement
"""


def service(resource: Resource, referred: dict[str, str]) -> str:
    """The text of the module.

    Args:
        resource: what to write.
        referred: by table: what its rows are called, as in "There is no such task."
    """
    return "".join(
        (
            f'"""What can be done with {resource.name.words_of_many}. ',
            'Each change is one statement, so it happens whole or not at all."""\n\n',
            _imports(resource),
            _statements(resource, referred),
            _list(resource),
            _create(resource),
            _others(resource),
        )
    )


def _imports(resource: Resource) -> str:
    name, group = resource.name, resource.group
    return (
        f"{_IMPORTS}from app.models.{name.one} import {name.model}\n"
        f"from app.schemas.{name.one} import {name.model}Create, {name.model}Read, {name.model}Update\n"
        f"{enum_imports(resource)}{f'from app.services.{group.many} import WRITERS, refuse{chr(10)}' if group else ''}\n"
    )


def _statements(resource: Resource, referred: dict[str, str]) -> str:
    model, returns = resource.name.model, f"returns={resource.name.model}Read"
    missing = ", ".join(
        f'"{resource.foreign_key(each)}": "There is no such {referred[each.refers_to]}."'
        for each in resource.references
    )
    conflicts = ", conflicts=_MISSING" if missing else ""
    there = writers = ""
    inserted = f"insert({model}).values(insert_values({model}))"
    row = written = f"owned_row({model})"
    if resource.group:
        there = f'_THERE = col({model}.{resource.owner}) == bindparam("{resource.owner}")\n'
        writers = f"_BY_WRITER = (owned_row({model}, role=WRITERS), _THERE)\n\n"
        inserted = f"insert_for_member({model}, role=WRITERS)"
        row, written = f"owned_row({model}), _THERE", "*_BY_WRITER"
    listed = [f"owned({model})", *(["_THERE"] if there else []), f"before_cursor({model})"]
    if resource.filter:
        listed.append(f"optional_equals({model}.{resource.filter.name})")
    return f"""
{f"_MISSING = {{{missing}}}{chr(10)}" if missing else ""}{there}{writers}
_LIST = Statement(
    select({model}).where({", ".join(listed)}).order_by(col({model}.id).desc()).limit(LIMIT),
    {returns},
)
_CREATE = Statement({inserted}.returning({model}), {returns}{conflicts})
_GET = Statement(select({model}).where({row}), {returns})
_UPDATE = PartialUpdate(update({model}).where({written}), {model}, _GET, {returns}{conflicts})
_DELETE = VersionedStatement(delete({model}).where({written}), {model}, _GET)

"""


def _list(resource: Resource) -> str:
    name, filter_ = resource.name, resource.filter
    parameter = f", {filter_.name}: {filter_.type} | None = None" if filter_ else ""
    said = f"        {filter_.name}: the value that it must have; None lists all.\n" if filter_ else ""
    given = f"{filter_.name}={filter_.name}, " if filter_ else ""
    return f'''
async def list_{name.many}(
    database: Executor, {_who(resource)}, *, limit: int, before: UUID | None = None{parameter}
) -> list[{name.model}Read]:
    """The {resource.owner_words}'s {name.words_of_many}, newest first.

    Args:
        limit: how many at most.
        before: the id of {article(name.words)}. Only older ones are listed.
{said}    """
    return await database.all(_LIST, {_owner(resource)}, before=before or ids.LARGEST, {given}limit=limit)

'''


def _create(resource: Resource) -> str:
    name = resource.name
    row = f"await database.one(_CREATE, {_owner(resource)}, **ids.new_row(), **vars({name.one}))"
    returned = f"{row} or await refuse(database, place)" if resource.group else f"require_found({row}, {name.model})"
    return f'''
async def create_{name.one}(database: Executor, {_who(resource)}, {name.one}: {name.model}Create) -> {name.model}Read:
    """A new {name.words}, with a new id.{_conflict(resource)}"""
    return {returned}

'''


def _conflict(resource: Resource) -> str:
    if not resource.references:
        return ""
    return f"\n\n    Raises:\n{_missing(resource)}    "


def _missing(resource: Resource) -> str:
    return "".join(f"        Conflict: nothing has the id in `{each.name}`.\n" for each in resource.references)


def _others(resource: Resource) -> str:
    name, owner = resource.name, _owner(resource)
    return f'''
async def get_{name.one}(database: Executor, {_who(resource)}, {name.one}_id: UUID) -> {name.model}Read:
    """One {name.words}.

    Raises:
        NotFound: the {resource.owner_words} has no such {name.words}.
    """
    return require_found(await database.one(_GET, {owner}, id={name.one}_id), {name.model})


async def update_{name.one}(
    database: Executor, {_who(resource)}, {name.one}_id: UUID, {name.one}: {name.model}Update, condition: Condition = ALWAYS
) -> {name.model}Read:
    """Change the fields that were given; when none was, the {name.words} stays as it is.

    Raises:
        NotFound: the {resource.owner_words} has no such {name.words}.
        PreconditionFailed: the condition does not hold.
{_missing(resource)}    """
    return await _UPDATE.one(database, condition, {name.one}.fields_set(), {owner}, id={name.one}_id)


async def delete_{name.one}(database: Executor, {_who(resource)}, {name.one}_id: UUID, condition: Condition = ALWAYS) -> None:
    """Delete {article(name.words)} for good.

    Raises:
        NotFound: the {resource.owner_words} has no such {name.words}.
        PreconditionFailed: the condition does not hold.
    """
    await _DELETE.execute(database, condition, {owner}, id={name.one}_id)
'''


def _who(resource: Resource) -> str:
    return "place: Place" if resource.group else "user_id: str"


def _owner(resource: Resource) -> str:
    return "**place" if resource.group else "owner=user_id"
