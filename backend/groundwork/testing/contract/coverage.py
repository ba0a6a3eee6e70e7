"""The table matches the service: every operation on users' data has a case, or a reason why it has none."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI

from groundwork.testing.parametrize import USUAL
from groundwork.testing.resource import Differs, Resource

_ROUTES = {"list": "GET", "create": "POST", "get": "GET one", "update": "PUT one", "delete": "DELETE one"}
"""The usual operations, each with its method, and "one" if its path ends with the id of a row."""
_WITH_BODY = ("POST", "PUT", "PATCH")
"""The methods for which httpx's function, such as `client.post`, takes a body."""


class Documented(NamedTuple):
    """An operation of the OpenAPI document."""

    name: str
    method: str
    path: str
    has_body: bool


def documented(app: FastAPI) -> dict[str, Documented]:
    """The operations on users' data, by name."""
    return {
        operation["operationId"]: Documented(operation["operationId"], method.upper(), path, "requestBody" in operation)
        for path, operations in app.openapi()["paths"].items()
        if "{user_id}" in path
        for method, operation in operations.items()
    }


def test_every_operation_on_a_users_data_has_a_case(
    app: FastAPI, resources: Sequence[Resource], differs: Mapping[str, Differs]
) -> None:
    served = documented(app)
    cases = [operation.name for each in resources for operation in each.operations()]
    excused = {name for name, entry in differs.items() if entry.from_all}
    absent = [name for name in cases if name not in served.keys() | excused]
    uncovered = [operation for name, operation in served.items() if name not in {*cases, *excused}]
    says = [f"{each.name} ({each.method} {each.path}): {way_to_cover(each, resources, absent)}" for each in uncovered]
    if says:
        lines = "\n".join(f"  {line}" for line in says)
        raise AssertionError(
            f"No promise covers these operations; say in tests/resources.py what sends them:\n{lines}\n"
            "If one is out of all promises for a good reason, say so there, in DIFFERS:"
            f' "{uncovered[0].name}": Differs("the reason").'
        )
    if absent:
        raise AssertionError(
            f"tests/resources.py has operations that the service does not: {', '.join(absent)}. Name the routes'"
            f' functions so, or say in DIFFERS why there is none: "{absent[0]}": Differs("the reason").'
        )


def way_to_cover(operation: Documented, resources: Sequence[Resource], absent: Sequence[str]) -> str:
    """What to write so that a promise covers the operation.

    Args:
        absent: operations of the table that the service does not have.
    """
    name, method, path, has_body = operation
    below_user = path.partition("{user_id}")[2].strip("/")
    first, *rest = below_user.split("/")
    found = [resource for resource in resources if resource.plural == first]
    if not found:
        if rest and re.fullmatch(r"\{.*\}", rest[0]):
            return f"add a Resource with the plural {first} to RESOURCES."
        return f'it belongs to no Resource: "{name}": Differs("the reason") in DIFFERS, and a test of its own.'
    [resource] = found
    is_on_one = bool(rest) and re.fullmatch(r"\{.*\}", rest[0]) is not None
    below = rest[1:] if is_on_one else rest
    route = f"{method} one" if is_on_one else method
    usual = [each for each, usual_route in _ROUTES.items() if usual_route == route and not below]
    if usual and (wanted := USUAL[usual[0]].format(resource)) in absent:
        return f"rename the route's function to {wanted}."
    argument, variable = ("more", "one") if is_on_one else ("more_on_all", "own")
    url = f'f"{{{variable}}}/{"/".join(re.sub(r"{.*}", "…", part) for part in below)}"' if below else variable
    body = ", json={…}" if has_body else ""
    if has_body and method not in _WITH_BODY:
        call = f'client.request("{method}", {url}{body})'
    else:
        call = f"client.{method.lower()}({url}{body})"
    return f'Resource("{resource.name}", …, {argument}={{"{name}": lambda client, {variable}: {call}}})'


def test_what_differs_is_there(app: FastAPI, resources: Sequence[Resource], differs: Mapping[str, Differs]) -> None:
    served: set[Any] = {
        operation["operationId"] for operations in app.openapi()["paths"].values() for operation in operations.values()
    }
    cases = {operation.name for resource in resources for operation in resource.operations()}
    unknown = [name for name in differs if name not in served | cases]
    assert not unknown, (
        f"DIFFERS in tests/resources.py has {', '.join(unknown)}, which the service does not have: remove the entries"
    )
