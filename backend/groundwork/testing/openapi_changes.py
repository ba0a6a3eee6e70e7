"""Tells whether a change of the OpenAPI document breaks clients or only adds something.

A change of a name that generated clients use (of an operation, a schema or a path parameter) breaks them.

`python -m groundwork.testing.openapi_changes main:backend/openapi.json openapi.json` compares two documents. Each is a
file, or a revision and a path as `git show` takes them. It exits with 1 when the change breaks clients.
"""

import difflib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from groundwork.testing.schema_changes import Change, Comparison, Document, Schema, requirement, resolve, was

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def render(document: Document) -> str:
    """The text of the committed copy: the document in the order in which it is served, one value on each line."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def changes(old: Document, new: Document) -> list[Change]:
    """Every difference between two OpenAPI documents (3.0 or 3.1) that a client may notice, each once."""
    found = [*_paths(old, new), *_schema_names(old, new)]
    return list(dict.fromkeys(found))


def describe(found: Sequence[Change]) -> str:
    """The changes in words: those that break clients first."""
    parts = [
        _list("This change breaks clients:", [each for each in found if each.breaking]),
        _list("This change adds:", [each for each in found if not each.breaking]),
    ]
    return "\n\n".join(filter(None, parts)) or "Clients do not notice this change: only its words differ."


def require_current(copy: Path, document: Document, *, command: str = "make openapi") -> None:
    """Compare the committed copy with the document that the service serves.

    Args:
        copy: the committed file.
        document: what the application serves now.
        command: the command that writes the copy again.

    Raises:
        AssertionError: they differ. The message shows the difference, and says what it means to clients.
    """
    __tracebackhide__ = True
    committed, served = (copy.read_text("utf-8") if copy.exists() else ""), render(document)
    if committed == served:
        return
    if not committed:
        raise AssertionError(f"{copy.name} is not there. Run `{command}`, which writes it.")
    lines = difflib.unified_diff(
        committed.splitlines(), served.splitlines(), "the committed copy", "what is served", lineterm=""
    )
    meaning = describe(changes(json.loads(committed), document))
    difference = "\n".join(lines)
    raise AssertionError(
        f"The OpenAPI document is not the one in {copy.name}.\n\n{meaning}\n\n"
        f"If it is meant, `{command}` writes the new copy. Commit it with the change.\n\n{difference}"
    )


def main(arguments: list[str]) -> int:
    """Compare two documents; see the module's docstring."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        old, new = map(_read, arguments)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    found = changes(old, new)
    sys.stdout.write("The documents are the same.\n" if old == new else f"{describe(found)}\n")
    return int(any(each.breaking for each in found))


def _read(source: str) -> Document:
    text = _at_revision(source) if ":" in source else Path(source).read_text("utf-8")
    try:
        document: Document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} is not JSON: name an OpenAPI document, or REVISION:FILE ({error})") from None
    return document


def _at_revision(source: str) -> str:
    shown = subprocess.run(["git", "show", source], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise ValueError(
            f"git cannot show {source}: write REVISION:FILE, as in main:backend/openapi.json ({shown.stderr.strip()})"
        )
    return shown.stdout


def _list(heading: str, found: Sequence[Change]) -> str:
    return "\n".join([heading, *(f"  - {each}" for each in found)]) if found else ""


class _Pair:
    """Compares schemas of two documents, whose references lead into their own document."""

    def __init__(self, old: Document, new: Document) -> None:
        self.old = old
        self.new = new
        self.request = Comparison(old, new, in_request=True).compare
        self.response = Comparison(old, new, in_request=False).compare


def _paths(old: Document, new: Document) -> Iterator[Change]:
    before, after = _operations(old), _operations(new)
    pair = _Pair(old, new)
    for key in {**before, **after}:
        if key not in after:
            yield Change(key, "the operation is gone", breaking=True)
        elif key not in before:
            yield Change(key, "the operation is new", breaking=False)
        else:
            yield from _operation(pair, key, before[key], after[key])


def _operations(document: Document) -> dict[str, Schema]:
    """Each operation by method and path, with the parameters of its path and the security that holds for it."""
    operations = {}
    for path, item in document.get("paths", {}).items():
        resolved = resolve(document, item)
        for method in _METHODS:
            if method in resolved:
                operation = resolved[method]
                operations[f"{method.upper()} {path}"] = {
                    "security": document.get("security", []),
                    **operation,
                    "parameters": [*resolved.get("parameters", []), *operation.get("parameters", [])],
                }
    return operations


def _operation(pair: "_Pair", key: str, old: Schema, new: Schema) -> Iterator[Change]:
    if old.get("operationId") != new.get("operationId"):
        what = f"operationId, which names the function of generated clients: {was(old, new, 'operationId')}"
        yield Change(key, what, breaking=True)
    yield from _security(key, old["security"], new["security"])
    yield from _parameters(pair, key, old["parameters"], new["parameters"])
    yield from _request_body(pair, key, old.get("requestBody"), new.get("requestBody"))
    yield from _responses(pair, key, old.get("responses", {}), new.get("responses", {}))


def _security(key: str, old: list[Schema], new: list[Schema]) -> Iterator[Change]:
    """Each entry of the lists is one way to sign in. An empty list, or an empty entry, lets everybody in."""
    before, after = old or [{}], new or [{}]
    if after != before:
        let_in = {} in after or all(each in after for each in before)
        what = "more callers are let in" if let_in else "callers need other credentials than before"
        yield Change(key, what, breaking=not let_in)


def _parameters(pair: "_Pair", key: str, old: list[Schema], new: list[Schema]) -> Iterator[Change]:
    before = {_parameter_name(each): each for each in (resolve(pair.old, each) for each in old)}
    after = {_parameter_name(each): each for each in (resolve(pair.new, each) for each in new)}
    for name in {**before, **after}:
        where = f"{key}, {name}"
        if name not in after:
            yield Change(where, "the parameter is gone", breaking=True)
        elif name not in before:
            required = after[name].get("required", False)
            what = "the parameter is new and required" if required else "the parameter is new and optional"
            yield Change(where, what, breaking=required)
        else:
            yield from _parameter(pair, where, before[name], after[name])


def _parameter_name(parameter: Schema) -> str:
    # Names of headers are the same in upper and in lower case.
    name = parameter["name"].lower() if parameter["in"] == "header" else parameter["name"]
    return f"{parameter['in']} parameter {name}"


def _parameter(pair: "_Pair", where: str, old: Schema, new: Schema) -> Iterator[Change]:
    yield from requirement(where, old, new, in_request=True)
    for keyword in ("style", "explode", "allowReserved"):
        if old.get(keyword) != new.get(keyword):
            yield Change(where, f"{keyword}: {was(old, new, keyword)}", breaking=True)
    yield from pair.request(where, _schema_of(old), _schema_of(new))


def _schema_of(parameter: Schema) -> Schema:
    """The parameter's schema. It stands in the parameter, or in the content of its only media type."""
    for content in parameter.get("content", {}).values():
        return dict(content.get("schema", {}))
    return dict(parameter.get("schema", {}))


def _request_body(pair: "_Pair", key: str, old: Schema | None, new: Schema | None) -> Iterator[Change]:
    where = f"{key}, request body"
    before, after = resolve(pair.old, old or {}), resolve(pair.new, new or {})
    if new is None:
        if old is not None:
            yield Change(where, "is gone", breaking=True)
    elif old is None:
        required = after.get("required", False)
        yield Change(where, "is new and required" if required else "is new and optional", breaking=required)
    else:
        yield from requirement(where, before, after, in_request=True)
        yield from _contents(where, before.get("content", {}), after.get("content", {}), pair.request)


def _responses(pair: "_Pair", key: str, old: Schema, new: Schema) -> Iterator[Change]:
    for status in {**old, **new}:
        where = f"{key}, {status}"
        if status not in new:
            yield Change(where, "the status is gone", breaking=True)
        elif status not in old:
            yield Change(where, "the status is new", breaking=False)
        else:
            before, after = resolve(pair.old, old[status]), resolve(pair.new, new[status])
            yield from _contents(where, before.get("content", {}), after.get("content", {}), pair.response)
            yield from _headers(pair, where, before.get("headers", {}), after.get("headers", {}))


def _contents(
    where: str, old: Schema, new: Schema, compare: Callable[[str, Schema, Schema], list[Change]]
) -> Iterator[Change]:
    for media_type in {**old, **new}:
        if media_type not in new:
            yield Change(where, f"the media type {media_type} is gone", breaking=True)
        elif media_type not in old:
            yield Change(where, f"the media type {media_type} is new", breaking=False)
        else:
            yield from compare(where, old[media_type].get("schema", {}), new[media_type].get("schema", {}))


def _headers(pair: "_Pair", where: str, old: Schema, new: Schema) -> Iterator[Change]:
    before = {name.lower(): resolve(pair.old, each) for name, each in old.items()}
    after = {name.lower(): resolve(pair.new, each) for name, each in new.items()}
    for name in {**before, **after}:
        place = f"{where}, header {name}"
        if name not in after:
            yield Change(place, "is gone", breaking=True)
        elif name not in before:
            yield Change(place, "is new", breaking=False)
        else:
            yield from requirement(place, before[name], after[name], in_request=False)
            yield from pair.response(place, _schema_of(before[name]), _schema_of(after[name]))


def _schema_names(old: Document, new: Document) -> Iterator[Change]:
    after = new.get("components", {}).get("schemas", {})
    for name in old.get("components", {}).get("schemas", {}):
        if name not in after:
            yield Change(name, "the schema is gone; generated clients have a type of this name", breaking=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
