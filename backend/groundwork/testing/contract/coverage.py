"""The table fits the service: every operation on users' data has a case, or a reason why it has none."""

from collections.abc import Mapping, Sequence

from fastapi import FastAPI

from groundwork.testing.resource import Differs, Resource


def test_every_operation_on_a_users_data_has_a_case(
    app: FastAPI, resources: Sequence[Resource], differs: Mapping[str, Differs]
) -> None:
    documented = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        if "{user_id}" in path
        for method, operation in operations.items()
    }
    cases = {operation.name for resource in resources for operation in resource.operations()}
    excused = {name for name, entry in differs.items() if entry.from_all}
    for name in documented.keys() - cases - excused:
        raise AssertionError(
            f"No promise covers {name} ({documented[name]}). In tests/resources.py, add to its Resource what sends it:"
            f' more={{"{name}": lambda client, one: client.post(f"{{one}}/…")}}, or more_on_all=; or say in DIFFERS why'
            f' it is out of all promises: "{name}": Differs("the reason").'
        )
    for name in cases - documented.keys() - excused:
        raise AssertionError(
            f"tests/resources.py has the operation {name}, but the service does not. Name the route's function so,"
            f' or say in DIFFERS why there is none: "{name}": Differs("the reason").'
        )


def test_what_differs_is_there(app: FastAPI, resources: Sequence[Resource], differs: Mapping[str, Differs]) -> None:
    documented = {
        operation["operationId"] for operations in app.openapi()["paths"].values() for operation in operations.values()
    }
    cases = {operation.name for resource in resources for operation in resource.operations()}
    for name in differs.keys() - documented - cases:
        raise AssertionError(f"DIFFERS in tests/resources.py has {name}, which is no operation: remove the entry.")
