"""The text of a resource's tests: its entry in the table of all resources, and what only references need."""

from groundwork.dev.resource.description import Resource
from groundwork.dev.resource.members import Member
from groundwork.dev.resource.reference import Target


def entry(resource: Resource, targets: dict[str, Target]) -> str:
    """The entry in `tests/resources.py`."""
    name, title = resource.name, resource.title
    required = {
        each.name: each.sample
        for each in resource.members
        if each.is_required and not each.refers_to and each is not title
    }
    optional = {each.name: each.sample for each in resource.members if not each.is_required and not each.refers_to}
    references = [each for each in resource.references if each.nullable]
    parents = {each.name: targets[each.refers_to].constant for each in resource.references if not each.nullable}
    arguments = {
        "text": f'"{title.name}"' if title else "",
        "required": repr(required) if required else "",
        "optional": repr(optional) if optional else "",
        "references": repr([each.name for each in references]) if references else "",
        "parents": f"{{{', '.join(f'{chr(34)}{key}{chr(34)}: {value}' for key, value in parents.items())}}}"
        if parents
        else "",
        "filter": f'"{resource.filter.name}"' if resource.filter else "",
        "irregular_plural": "" if name.regular else f'"{name.many}"',
        "within": resource.group.constant if resource.group else "",
    }
    lines = "".join(f"    {argument}={value},\n" for argument, value in arguments.items() if value)
    return f'{name.constant} = Resource(\n    "{name.one}",\n{lines})\n'


def tests(resource: Resource, targets: dict[str, Target]) -> str:
    """The text of `tests/test_….py`, which tests the resource's references."""
    name = resource.name
    constants = sorted({name.constant, *(target.constant for target in targets.values())})
    return f'''"""The references of {name.words_of_many}. What all resources have in common, test_contract.py tests."""

import asyncpg
import httpx
import pytest

from groundwork.testing.http import MISSING_ID, assert_problem
from tests.resources import {", ".join(constants)}

''' + "".join(_tests(resource, each, targets[each.refers_to]) for each in resource.references)


def _tests(resource: Resource, member: Member, target: Target) -> str:
    name, ours, theirs, column = resource.name, resource.name.constant, target.constant, member.name
    return f'''
async def test_{column}_is_of_the_same_{resource.owner_words.replace(" ", "_")}(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
{_prepared(resource)}    own, foreign = await {theirs}.insert(connection), await {theirs}.insert(connection, "mallory")
    {name.one} = await {ours}.create(client, {column}=own)
    path = {ours}.of("alice")
    before = (await client.get(path)).json()
    for id_ in (foreign, MISSING_ID):
        body = {ours}.body({column}=id_)
        for answer in (
            await client.post(path, json=body),
            await client.post(path, json=body, headers={{"Idempotency-Key": f'"{{id_}}"'}}),
            await client.put(f"{{path}}/{{{name.one}['id']}}", json=body),
        ):
            assert assert_problem(answer, 409)["detail"] == "There is no such {target.words}."
    assert (await client.get(path)).json() == before
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute('UPDATE "{name.many}" SET {column} = $1', foreign)


async def test_{target.name}_that_{column}_names_is_not_deleted(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
{_prepared(resource)}    own = await {theirs}.insert(connection)
    {name.one} = await {ours}.create(client, {column}=own)
    path = f"{{{theirs}.of('alice')}}/{{own}}"
    assert "{name.words_of_many}" in assert_problem(await client.delete(path), 409)["detail"]
    assert (await client.delete(f"{{{ours}.of('alice')}}/{{{name.one}['id']}}")).status_code == 200
    assert (await client.delete(path)).status_code == 200

'''


def _prepared(resource: Resource) -> str:
    """What creates the groups, and the rows that other members name."""
    needed = resource.group or not all(each.nullable for each in resource.references)
    return f"    await {resource.name.constant}.prepare(connection)\n" if needed else ""
