"""Runs the tests of the contract for the resources and operations in the table of their module."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from groundwork.testing.resource import PROMISES, Differs, Operation, Resource

ON_ONE, EACH = "on one", "each"
ALICES_ID = UUID("01990000-0000-7000-8000-000000000001")
CLAIM = {"user_id": "alice", "id": str(ALICES_ID)}
"""Further members in the bodies of the cases. They name another user and her id, and must have no effect."""
_USUAL = {
    "list": "list_{0.plural}",
    "create": "create_{0.name}",
    "get": "get_{0.name}",
    "update": "update_{0.name}",
    "delete": "delete_{0.name}",
}


class Table(NamedTuple):
    resources: Sequence[Resource]
    differs: Mapping[str, Differs]


def promise(name: str, *operations: str) -> pytest.MarkDecorator:
    """Mark a test of the contract.

    Args:
        name: the promise's name in `PROMISES`.
        operations: the operations that the test calls. With "list", "create", "get", "update" and "delete", the test
            runs for each `resource`; with `ON_ONE` or `EACH`, for each such `operation`.
    """
    assert name in PROMISES, name
    return pytest.mark.promise(name, *operations)


def table_of(module: ModuleType) -> Table:
    """The table in a module with the contract's tests."""
    resources, differs = getattr(module, "RESOURCES", None), getattr(module, "DIFFERS", None)
    if resources is None or differs is None:
        pytest.fail(
            f"{module.__name__} has the contract's tests, but no table: import RESOURCES and DIFFERS from"
            " tests.resources there.",
            pytrace=False,
        )
    for problem in _problems(differs):
        pytest.fail(problem, pytrace=False)
    return Table(resources, differs)


def _problems(differs: Mapping[str, Differs]) -> Iterator[str]:
    for operation, entry in differs.items():
        if not entry.reason.strip():
            yield f"DIFFERS: the entry of {operation} gives no reason: say in a sentence why it differs."
        unknown = [name for name in entry.from_ if name not in PROMISES]
        if unknown:
            yield (
                f"DIFFERS: the entry of {operation} names {unknown[0]!r}, which is no promise; these are:"
                f" {', '.join(PROMISES)}."
            )
        if isinstance(entry.from_, str) or not entry.from_:
            yield f"DIFFERS: from_ in the entry of {operation} must be a list of promises; without it, all are meant."


def generate(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("promise")
    if marker is None:
        return
    name, *operations = marker.args
    table = table_of(metafunc.module)
    if EACH in operations or ON_ONE in operations:
        parameters = [
            _parameter(operation, operation.name, name, [operation.name], table.differs)
            for operation in _operations(table.resources, only_on_one=ON_ONE in operations)
        ]
        metafunc.parametrize("operation", parameters)
    else:
        parameters = [
            _parameter(resource, resource.plural, name, usual_names(resource, operations), table.differs)
            for resource in table.resources
        ]
        metafunc.parametrize("resource", parameters)


def usual_names(resource: Resource, operations: Iterable[str]) -> list[str]:
    return [_USUAL[operation].format(resource) for operation in operations]


def _operations(resources: Iterable[Resource], *, only_on_one: bool) -> list[Operation]:
    return [
        operation
        for resource in resources
        for operation in resource.operations(**CLAIM)
        if operation.is_on_one or not only_on_one
    ]


def _parameter(value: Any, id_: str, name: str, operations: Iterable[str], differs: Mapping[str, Differs]) -> Any:
    marks = [
        pytest.mark.skip(reason=f"{operation} differs: {differs[operation].reason}")
        for operation in operations
        if operation in differs and name in differs[operation].from_
    ]
    return pytest.param(value, id=id_, marks=marks[:1])


def advice(item: pytest.Item) -> str:
    """Which promise a failed test of the contract found broken, and what to do; "" for other tests."""
    marker = item.get_closest_marker("promise")
    if marker is None:
        return ""
    name, *operations = marker.args
    parameters = getattr(item, "callspec", None)
    value = parameters.params.get("operation") or parameters.params.get("resource") if parameters else None
    if isinstance(value, Operation):
        names = [value.name]
    elif isinstance(value, Resource):
        names = usual_names(value, operations)
    else:
        return ""
    return (
        f"{name}: {PROMISES[name]}.\n"
        f"{' or '.join(names)} does not keep it. Mend the operation, or its entry in tests/resources.py; if it differs"
        f" for a good reason, say so there, in DIFFERS:\n\n"
        f'    "{names[0]}": Differs("the reason", from_=["{name}"]),\n'
    )
