"""The text of a resource's routes."""

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.members import Member
from groundwork.dev.resource.model import enum_imports
from groundwork.dev.resource.names import article

_IMPORTS = """\
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request, Response, status

from app.core.database import Database
from app.core.place import Here
from groundwork.http.bodies import Message
from groundwork.http.conditional import CONDITIONS, RequestCondition, not_modified_or, with_etag
from groundwork.http.idempotency import CONFLICT, RETRIES, IdempotencyKey, create_once
from groundwork.http.paging import MAX_LIMIT, Cursor, Limit, one_page
from groundwork.http.responses import CREATED, DELETED, LISTED, READ, UPDATED
from groundwork.http.routing import BooleanFilter, UserId, router_of
"""


def routes(resource: Resource) -> str:
    """The text of the module."""
    return f"{_head(resource)}{_on_all(resource)}{_on_one(resource)}"


def _head(resource: Resource) -> str:
    name, group = resource.name, resource.group
    below = f', below="{group.many}/{{{group.one}_id}}/"' if group else ""
    refused = f"from app.routes.{group.many} import REFUSED\n" if group else ""
    return f'''"""{name.words_of_many.capitalize()} over HTTP. Each route calls one function of the service and returns what it answers."""

{_IMPORTS}from app.schemas.{name.one} import {name.model}Create, {name.model}Read, {name.model}Update
from app.services import {name.many}
{enum_imports(resource)}{refused}
router = router_of("{name.many}"{below})

{name.model}Id = Annotated[UUID, Path(description="The {name.words}'s id.")]

'''


def _on_all(resource: Resource) -> str:
    name, who = resource.name, _who(resource)
    parameter, given = "", ""
    if member := resource.filter:
        parameter = f"    {member.name}: {_filter(member)} = None,\n"
        given = f", {member.name}={member.name}"
    return f'''
@router.get("", responses=LISTED)
async def list_{name.many}(
    {who},
    database: Database,
    request: Request,
    response: Response,
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
{parameter}) -> list[{name.model}Read]:
    """The {resource.owner_words}'s {name.words_of_many}, newest first."""
    # One more than the page holds tells whether there is a next page.
    found = await {name.many}.list_{name.many}(database, {_owner(resource)}, limit=limit + 1, before=cursor{given})
    return one_page(found, limit, request, response)


@router.post(
    "", status_code=status.HTTP_201_CREATED, response_model={name.model}Read, responses={_responses(resource, "CREATED")}, openapi_extra=RETRIES
)
async def create_{name.one}(
    {who},
    {name.one}: {name.model}Create,
    database: Database,
    key: IdempotencyKey,
    request: Request,
    response: Response,
) -> {name.model}Read | Response:
    """Create {article(name.words)}."""
    create = partial({name.many}.create_{name.one}, {_owner(resource)}={_owner(resource)}, {name.one}={name.one})
    return await create_once(key, create, database, {'place["owner"]' if resource.group else "user_id"}, request, response)

'''


def _on_one(resource: Resource) -> str:
    name, who, owner = resource.name, _who(resource), _owner(resource)
    one = f"{name.one}_id: {name.model}Id"
    return f'''
@router.get("/{{{name.one}_id}}", response_model={name.model}Read, responses=READ, openapi_extra=CONDITIONS)
async def get_{name.one}(
    {who}, {one}, database: Database, condition: RequestCondition, response: Response
) -> {name.model}Read | Response:
    """One {name.words}."""
    return not_modified_or(response, await {name.many}.get_{name.one}(database, {owner}, {name.one}_id), condition)


@router.put("/{{{name.one}_id}}", responses={_responses(resource, "UPDATED")}, openapi_extra=CONDITIONS)
async def update_{name.one}(
    {who},
    {one},
    {name.one}: {name.model}Update,
    database: Database,
    condition: RequestCondition,
    response: Response,
) -> {name.model}Read:
    """Change the members that are given."""
    return with_etag(response, await {name.many}.update_{name.one}(database, {owner}, {name.one}_id, {name.one}, condition))


@router.delete("/{{{name.one}_id}}", responses={_responses(resource, "DELETED")}, openapi_extra=CONDITIONS)
async def delete_{name.one}(
    {who}, {one}, database: Database, condition: RequestCondition
) -> Message:
    """Delete {article(name.words)} for good."""
    await {name.many}.delete_{name.one}(database, {owner}, {name.one}_id, condition)
    return Message(message="{name.words.capitalize()} deleted successfully")
'''


def _who(resource: Resource) -> str:
    return "place: Here" if resource.group else "user_id: UserId"


def _owner(resource: Resource) -> str:
    return "place" if resource.group else "user_id"


def _filter(member: Member) -> str:
    type_ = "BooleanFilter" if member.type == "bool" else f"{member.type} | None"
    return f'Annotated[{type_}, Query(description="Only those with this value.")]'


def _responses(resource: Resource, usual: str) -> str:
    """What an operation answers. A role may be refused, and a row may not fit those of other tables."""
    parts = [usual]
    if resource.references and usual == "UPDATED":
        parts.append("CONFLICT")
    if resource.group:
        parts.append("REFUSED")
    return usual if len(parts) == 1 else f"{{{', '.join(f'**{each}' for each in parts)}}}"
