"""Runs each test of the contract once for each resource or operation in the table of its module."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from groundwork.testing.resource import PROMISES, Differs, Operation, Resource

ON_ONE, EACH = "on one", "each"
USERS = ("alice", "bob", "mallory")
"""The users of the contract's tests."""
ALICES_ID = UUID("01990000-0000-7000-8000-000000000001")
CLAIM = {"user_id": "alice", "id": str(ALICES_ID)}
"""Further members in the bodies of the requests. They name another user and an id of hers, and must have no effect."""
USUAL = {
    "list": "list_{0.plural}",
    "create": "create_{0.name}",
    "get": "get_{0.name}",
    "update": "update_{0.name}",
    "delete": "delete_{0.name}",
}
"""The names of a resource's usual operations."""
TABLE_PROBLEMS = pytest.StashKey[dict[str, None]]()
"""What is wrong with the tables of the collected modules: sentences, in the order in which they were found."""


class Table(NamedTuple):
    resources: Sequence[Resource]
    differs: Mapping[str, Differs]


def promise(name: str, *operations: str) -> pytest.MarkDecorator:
    """Mark a test of the contract.

    Args:
        name: the promise's name in `PROMISES`.
        operations: the operations that the test calls. With some of "list", "create", "get", "update" and "delete", the
            test runs once for each `resource`. With `EACH`, it runs once for each `operation`, and with `ON_ONE` once
            for each operation on one row.
    """
    assert name in PROMISES, name
    return pytest.mark.promise(name, *operations)


def table_of(module: ModuleType) -> Table:
    """The table in a module with the contract's tests.

    Raises:
        UsageError: there is none, or it has mistakes. Each argument is a sentence about one mistake.
    """
    resources, differs = getattr(module, "RESOURCES", None), getattr(module, "DIFFERS", None)
    if resources is None or differs is None:
        raise pytest.UsageError(
            f"{module.__name__} has the contract's tests, but no table: import RESOURCES and DIFFERS from"
            " tests.resources there."
        )
    problems = [*_problems_of_resources(resources), *_problems_of_differs(differs)]
    if problems:
        raise pytest.UsageError(*problems)
    return Table(resources, differs)


def _problems_of_resources(resources: Any) -> Iterator[str]:
    if not isinstance(resources, Sequence) or isinstance(resources, str):
        yield f'RESOURCES must be a list, as in [Resource("task", text="title")], not {resources!r}.'
        return
    for entry in resources:
        if not isinstance(entry, Resource):
            yield f'RESOURCES has {entry!r}, which is no Resource: write it as Resource("task", text="title").'


def _problems_of_differs(differs: Any) -> Iterator[str]:
    if not isinstance(differs, Mapping):
        yield f'DIFFERS must be a dictionary, as in {{"get_task": Differs("the reason")}}, not {differs!r}.'
        return
    for operation, entry in differs.items():
        if not isinstance(entry, Differs):
            reason = entry if isinstance(entry, str) else "the reason"
            yield f'DIFFERS: the entry of {operation} is {entry!r}: write "{operation}": Differs({reason!r}).'
        else:
            yield from _problems_of_entry(operation, entry)


def _problems_of_entry(operation: str, entry: Differs) -> Iterator[str]:
    reason, promises = entry.reason, entry.from_
    if not isinstance(reason, str) or not reason.strip():
        yield f"DIFFERS: the entry of {operation} gives no reason: say in a sentence why it differs."
    if isinstance(promises, str) or not isinstance(promises, Collection) or not promises:
        example = [promises if isinstance(promises, str) and promises in PROMISES else next(iter(PROMISES))]
        yield (
            f"DIFFERS: from_ in the entry of {operation} must be a list of promises, as in from_={example}; without it,"
            " all are meant."
        )
        return
    for name in promises:
        if name not in [*PROMISES]:
            yield (
                f"DIFFERS: the entry of {operation} names {name!r}, which is no promise; choose from:"
                f" {', '.join(PROMISES)}."
            )


def generate(metafunc: pytest.Metafunc) -> None:
    """Give a test of the contract its resources or operations.

    Mistakes in a table are kept for `require_tables`. Raised here, they would be hidden among pytest's lines about an
    error in the collection.
    """
    marker = metafunc.definition.get_closest_marker("promise")
    if marker is None and not {"resources", "differs"} & {*metafunc.fixturenames}:
        return
    try:
        assert metafunc.module is not None  # every test function has one
        table = table_of(metafunc.module)
    except pytest.UsageError as error:
        metafunc.config.stash.setdefault(TABLE_PROBLEMS, {}).update(dict.fromkeys(map(str, error.args)))
        table = Table([], {})
    if marker is not None:
        _parametrize(metafunc, marker, table)


def require_tables(config: pytest.Config) -> None:
    """End the run with the sentences about mistakes in the tables, if there are any."""
    problems = config.stash.get(TABLE_PROBLEMS, {})
    if problems:
        raise pytest.UsageError(*problems)


def _parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark, table: Table) -> None:
    name, *operations = marker.args
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
    return [USUAL[operation].format(resource) for operation in operations]


def _operations(resources: Iterable[Resource], *, only_on_one: bool) -> list[Operation]:
    return [
        operation
        for resource in resources
        for operation in resource.operations(**CLAIM)
        if operation.is_on_one or not only_on_one
    ]


def resource_of(item: pytest.Item) -> Resource | None:
    """The resource that a test of the contract is about; None for other tests."""
    value = _value_of(item)
    return value.resource if isinstance(value, Operation) else value


def _value_of(item: pytest.Item) -> Operation | Resource | None:
    parameters = getattr(item, "callspec", None)
    value = parameters.params.get("operation") or parameters.params.get("resource") if parameters else None
    return value if isinstance(value, Operation | Resource) else None


def _parameter(value: Any, id_: str, name: str, operations: Iterable[str], differs: Mapping[str, Differs]) -> Any:
    marks = [
        pytest.mark.skip(reason=f"{operation} differs: {differs[operation].reason}")
        for operation in operations
        if operation in differs and name in differs[operation].from_
    ]
    return pytest.param(value, id=id_, marks=marks[:1])


def advice(item: pytest.Item, failure: str) -> str:
    """Which promise is broken, and what to do, after a test of the contract has failed; "" for other tests.

    Args:
        failure: the message of the failure. If it names one of the test's operations, only that one is blamed.
    """
    marker = item.get_closest_marker("promise")
    if marker is None:
        return ""
    name, *operations = marker.args
    value = _value_of(item)
    if isinstance(value, Operation):
        names = [value.name]
    elif isinstance(value, Resource):
        names = usual_names(value, operations)
    else:
        return ""
    names = [each for each in names if re.search(rf"\b{re.escape(each)}\b", failure)] or names
    return (
        f"{name}: {PROMISES[name]}.\n"
        f"{' or '.join(names)} does not keep it. Mend the operation, or its entry in tests/resources.py; if it differs"
        f" for a good reason, say so there, in DIFFERS:\n\n"
        f'    "{names[0]}": Differs("the reason", from_=["{name}"]),\n'
    )
