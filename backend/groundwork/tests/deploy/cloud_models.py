"""Compares files of deploy/ with the clouds' own models. test_clouds.py runs it where the models are installed.

`cloud_models.py azure FILE MODEL` prints each member of the YAML file that Azure's model of the resource does not have.
`cloud_models.py hcl FILE` prints the file's blocks, and the attributes of each, as JSON.
"""

import json
import sys
import typing
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

# Not among the requirements, so without types.
hcl2: Any = import_module("hcl2")
models: Any = import_module("azure.mgmt.appcontainers.models")


def unknown(model: Any, data: dict[str, Any], where: str) -> list[str]:
    """The members of `data`, at any depth, that the model does not have."""
    members = _members(model)
    found = []
    for key, value in data.items():
        path = f"{where}.{key}"
        if key not in members:
            found.append(path)
            continue
        inner, by_name = _model_in(members[key]), "dict[" in str(members[key])
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict) or inner is None:
                continue
            # In a dictionary of models, the keys are names that the user chooses.
            for one in each.values() if by_name else [each]:
                found += unknown(inner, one, path)
    return found


def _members(model: Any) -> dict[str, Any]:
    """The types of the members, by their names in JSON."""
    model({})  # The model reads its own members when it is first made.
    names = {**vars(models), "_models": models}
    members: dict[str, Any] = {}
    for kind in model.__mro__:
        spaces = {**names, **vars(sys.modules[kind.__module__])}
        for name, text in vars(kind).get("__annotations__", {}).items():
            field = model._attr_to_rest_field.get(name)
            if field is not None:
                members.setdefault(field._rest_name, eval(text, spaces) if isinstance(text, str) else text)
    return members


def _model_in(hint: Any) -> Any:
    """The model in a type such as `list[Container] | None`."""
    if isinstance(hint, typing.ForwardRef | str):
        name = hint if isinstance(hint, str) else hint.__forward_arg__
        hint = getattr(models, name.rpartition(".")[2], None)
    if isinstance(hint, type) and hasattr(hint, "_is_model"):
        return hint
    return next((found for each in typing.get_args(hint) if (found := _model_in(each))), None)


def blocks(path: str) -> dict[str, list[str]]:
    """The attributes of each block, by names such as `resource.neon_project.tasks_api`."""
    with Path(path).open() as file:
        loaded: dict[str, Any] = hcl2.load(file)
    found: dict[str, list[str]] = {}

    def walk(value: Any, name: str) -> None:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                keys = {key.strip('"'): inner for key, inner in each.items() if not key.startswith("__")}
                found[name] = sorted({*found.get(name, []), *keys})
                for key, inner in keys.items():
                    walk(inner, f"{name}.{key}")

    for key, value in loaded.items():
        walk(value, key)
    return found


if __name__ == "__main__":
    kind, path, *more = sys.argv[1:]
    if kind == "azure":
        lines = unknown(getattr(models, more[0]), yaml.safe_load(Path(path).read_text()), more[0])
    else:
        lines = [json.dumps(blocks(path))]
    sys.stdout.write("\n".join(lines))
