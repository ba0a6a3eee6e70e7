"""A value that a table holds only once is answered with 409 when it is taken, and each user has values of their own."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from groundwork.testing.contract.document import operation_of
from groundwork.testing.http import assert_problem
from groundwork.testing.parametrize import promise
from groundwork.testing.resource import Resource

TAKEN = (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError)


def two_with_the_same(resource: Resource, key: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bodies of two that have the same values in a key, and others in the other keys."""
    first, second = resource.whole_body(), resource.whole_body()
    return first, {**second, **{name: first[name] for name in key if name in first}}


async def constraint_between(
    resource: Resource, connection: asyncpg.Connection, first: dict[str, Any], second: dict[str, Any], user_id: str
) -> str | None:
    """The name of the constraint by which a user cannot have the second if Alice has the first; None if there is none.

    There is none if the samples are outside of a partial index, for example.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await resource.insert(connection, "alice", **first)
        await resource.insert(connection, user_id, **second)
    except TAKEN as error:
        return str(error.constraint_name)
    finally:
        await transaction.rollback()
    return None


def require_conflict(operation: str, answer: httpx.Response, constraint: str, key: Sequence[str]) -> None:
    """Check the answer to a request with a value that is taken."""
    said = f"{operation} answers {answer.status_code} to a value that is taken ({constraint})"
    if answer.status_code == 500:
        sentence = f"There is one with this {' and '.join(key)} already."
        raise AssertionError(f'{said}: give its statement conflicts={{"{constraint}": "{sentence}"}}')
    assert answer.status_code == 409, f"{said}, and not 409: {answer.text}"
    assert_problem(answer, 409)


@promise("unique values", "create", "update")
async def test_a_value_that_is_taken_is_answered_with_409(
    app: FastAPI, client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    create, update = f"create_{resource.name}", f"update_{resource.name}"
    for key in resource.unique_keys:
        first, second = two_with_the_same(resource, key)
        constraint = await constraint_between(resource, connection, first, second, "alice")
        if constraint is None:
            continue
        await resource.insert(connection, **first)
        path = f"{resource.of('alice')}/{await resource.insert(connection, **resource.whole_body())}"
        before = await resource.rows(connection)
        require_conflict(create, await client.post(resource.of("alice"), json=second), constraint, key)
        changes = {name: second[name] for name in key if name in second}
        require_conflict(update, await client.put(path, json=changes), constraint, key)
        assert await resource.rows(connection) == before, "a request that is answered with 409 has written something"
        for operation in (create, update):
            assert "409" in operation_of(app.openapi(), operation)["responses"], (
                f"{operation} does not document its 409 ({constraint}): give its route responses={{**…, **CONFLICT}},"
                " from groundwork.http.idempotency"
            )


@promise("unique values", "create")
async def test_of_those_who_take_a_value_at_once_one_gets_it(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """A service that only looks whether a value is taken, and then inserts, has a race."""
    for key in resource.unique_keys:
        first, second = two_with_the_same(resource, key)
        constraint = await constraint_between(resource, connection, first, second, "alice")
        if constraint is None:
            continue
        answers = await asyncio.gather(*(client.post(resource.of("alice"), json=body) for body in (first, second)))
        lost = [answer for answer in answers if answer.status_code != 201]
        for answer in lost:
            require_conflict(f"create_{resource.name}", answer, constraint, key)
        assert len(lost) == 1, f"two have the same value, in spite of {constraint}"


@promise("unique values", "create", "update")
async def test_each_user_may_have_the_same_value(
    client: httpx.AsyncClient, connection: asyncpg.Connection, resource: Resource
) -> None:
    """Otherwise a conflict would tell a user what another has."""
    for key in resource.unique_keys if not resource.membership else ():  # a group is not one user's
        first, second = two_with_the_same(resource, key)
        constraint = await constraint_between(resource, connection, first, second, "mallory")
        assert constraint is None, (
            f"{constraint} holds over all users, so its 409 tells a user what another has: begin it with"
            f" {', '.join(resource.stored.owner('mallory'))}"
        )
        await resource.insert(connection, **first)
        made = await client.post(resource.of("mallory"), json=second)
        require_accepted(f"create_{resource.name}", made)
        await resource.stored.remove(connection, "mallory")
        path = f"{resource.of('mallory')}/{await resource.insert(connection, 'mallory')}"
        changes = {name: second[name] for name in key if name in second}
        require_accepted(f"update_{resource.name}", await client.put(path, json=changes))


def require_accepted(operation: str, answer: httpx.Response) -> None:
    """Check that the answer to a request with a value of another user's row does not show that."""
    assert answer.is_success, (
        f"{operation} answers {answer.status_code} to a value that only another user has: look at rows of the owner"
        f" alone. {answer.text}"
    )
