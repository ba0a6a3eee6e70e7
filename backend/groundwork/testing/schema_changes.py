"""Tells what a change of a JSON schema means to clients that send its values, and to clients that receive them.

The service must still accept the requests of old clients, so a narrower schema of a request breaks them. Old clients
must still understand the responses, so a wider schema of a response breaks them. A new member of a response does not,
because clients ignore members that they do not know.
"""

import json
from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

Document = dict[str, Any]
Schema = dict[str, Any]
Node = Schema | bool
"""A schema as it stands in a document: true is valid for every value, false for none."""

_REF = "$ref"
_SCHEMAS = "#/components/schemas/"
# Keywords that say nothing about which values are valid.
_ANNOTATIONS = frozenset({
    "title", "description", "summary", "example", "examples", "default", "deprecated", "readOnly", "writeOnly",
    "$comment", "externalDocs", "xml", "discriminator",
})  # fmt: skip
_UPPER = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_LOWER = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_TYPES = {
    str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array", dict: "object"
}  # fmt: skip
_COMPARED = frozenset({
    "type", "enum", "properties", "required", "additionalProperties", "items", *_UPPER, *_LOWER
})  # fmt: skip
_ANY: Schema = {}
_NOTHING: Schema = {"not": {}}


class Change(NamedTuple):
    """One difference that a client may notice."""

    where: str
    what: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Comparison:
    """Compares two schemas in one direction, with all that they contain."""

    def __init__(self, old: Document, new: Document, *, in_request: bool) -> None:
        self._old = old
        self._new = new
        self._in_request = in_request
        # The comparisons that were begun, so that a schema that contains itself is compared once.
        self._compared: dict[tuple[str, str, str], list[Change]] = {}

    def compare(self, where: str, old: Node, new: Node) -> list[Change]:
        """The changes between two schemas.

        Args:
            where: the place of the schema. A schema with a name is reported under its name, and only once.
        """
        if isinstance(new, dict) and new.get(_REF, "").startswith(_SCHEMAS):
            where = f"{'request' if self._in_request else 'response'} schema {new[_REF].removeprefix(_SCHEMAS)}"
        key = where, json.dumps(old, sort_keys=True), json.dumps(new, sort_keys=True)
        if key not in self._compared:
            self._compared[key] = []
            self._compared[key] = [
                *self._default(where, old, new),
                *self._alternatives(where, _alternatives(self._old, old), _alternatives(self._new, new)),
            ]
        return self._compared[key]

    def _narrower(self, where: str, what: str) -> Change:
        """The change that fewer values are valid than before."""
        return Change(where, what, breaking=self._in_request)

    def _wider(self, where: str, what: str) -> Change:
        """The change that more values are valid than before."""
        return Change(where, what, breaking=not self._in_request)

    def _default(self, where: str, old: Node, new: Node) -> Iterator[Change]:
        """A change of the default, which breaks clients that leave the value out."""
        before, after = (resolve(self._old, old), resolve(self._new, new))
        if self._in_request and "default" in before and before["default"] != after.get("default"):
            yield Change(where, f"default: {was(before, after, 'default')}", breaking=True)

    def _alternatives(self, where: str, old: list[Schema], new: list[Schema]) -> list[Change]:
        """The changes of the alternatives. Equal ones are paired first, then harmless changes, and then the rest."""
        found: list[Change] = []
        before, after = list(old), list(new)
        # One alternative may cover several of the other side: a number covers integers.
        pairs = [(one, other, self._schema(where, one, other)) for one in old for other in new]
        for equal in (True, False):
            for one, other, differences in pairs:
                harmless = not differences if equal else not _breaking(differences)
                if harmless and (one in before or other in after):
                    if (one in before and other in after) or (one in before) != self._in_request:
                        found += differences
                    before, after = _without(before, one), _without(after, other)
        # An alternative that is left has changed in a breaking way, or is new, or is gone.
        for one, other, differences in sorted(pairs, key=lambda pair: _breaking(pair[2])):
            if one in before and other in after and one.get("type") == other.get("type"):
                found += differences
                before, after = _without(before, one), _without(after, other)
        if len(before) == len(after) == 1:
            return [*found, Change(where, f"type: {_kind(before[0])} → {_kind(after[0])}", breaking=True)]
        found += [self._narrower(where, f"is no longer {_kind(each)}") for each in before]
        found += [self._wider(where, f"may also be {_kind(each)}") for each in after]
        return found

    def _schema(self, where: str, old: Schema, new: Schema) -> list[Change]:
        """The changes between two schemas without alternatives."""
        before, after = old.get("type"), new.get("type")
        if before != after:
            what = f"type: {_kind(old)} → {_kind(new)}"
            if after is None or (before, after) == ("integer", "number"):
                return [self._wider(where, what)]
            if before is None or (before, after) == ("number", "integer"):
                return [self._narrower(where, what)]
            return [Change(where, what, breaking=True)]
        return [
            *self._bounds(where, old, new),
            *self._values(where, old, new),
            *self._other_keywords(where, old, new),
            *self._members(where, old, new),
            *self._other_members(where, old, new),
            *self._items(where, old, new),
        ]

    def _bounds(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        for keyword in (*_UPPER, *_LOWER):
            before, after = old.get(keyword), new.get(keyword)
            if before == after:
                continue
            if before is None or after is None:
                narrower = before is None
            else:
                narrower = after < before if keyword in _UPPER else after > before
            yield (self._narrower if narrower else self._wider)(where, f"{keyword}: {was(old, new, keyword)}")

    def _values(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        before, after = old.get("enum"), new.get("enum")
        if before is None and after is not None:
            yield self._narrower(where, f"must be one of {_json(after)}")
        elif before is not None and after is None:
            yield self._wider(where, f"need not be one of {_json(before)}")
        elif before is not None and after is not None:
            yield from (self._narrower(where, f"is no longer {_json(each)}") for each in before if each not in after)
            yield from (self._wider(where, f"may also be {_json(each)}") for each in after if each not in before)

    def _other_keywords(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        """Changes of keywords such as `pattern`. It is unknown which of two different values allows more."""
        for keyword in sorted((old.keys() | new.keys()) - _COMPARED - _ANNOTATIONS):
            if keyword.startswith("x-") or old.get(keyword) == new.get(keyword):
                continue
            what = f"{keyword}: {was(old, new, keyword)}"
            if keyword not in old:
                yield self._narrower(where, what)
            elif keyword not in new:
                yield self._wider(where, what)
            else:
                yield Change(where, what, breaking=True)

    def _members(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required_before, required_after = set(old.get("required", ())), set(new.get("required", ()))
        for name in before:
            if name not in after:
                # In a request, the member is ignored or refused from now on.
                yield Change(f"{where}.{name}", "the member is gone", breaking=True)
                continue
            yield from requirement(
                f"{where}.{name}",
                {"required": name in required_before},
                {"required": name in required_after},
                in_request=self._in_request,
            )
            yield from self.compare(f"{where}.{name}", before[name], after[name])
        for name in after:
            if name not in before:
                required = self._in_request and name in required_after
                yield Change(
                    f"{where}.{name}",
                    "the member is new and required" if required else "the member is new",
                    breaking=required,
                )

    def _other_members(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        """Changes for members that have no schema. In a response, clients ignore members that they do not know."""
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if before == after:
            return
        if after is False:
            yield self._narrower(where, "other members are no longer allowed")
        elif before is False:
            yield Change(where, "other members are allowed now", breaking=False)
        else:
            yield from self.compare(f"{where}.*", before, after)

    def _items(self, where: str, old: Schema, new: Schema) -> Iterator[Change]:
        if "items" in old or "items" in new:
            yield from self.compare(f"{where}[]", old.get("items", _ANY), new.get("items", _ANY))


def requirement(where: str, old: Schema, new: Schema, *, in_request: bool) -> Iterator[Change]:
    """The change if `required` differs."""
    before, after = old.get("required", False), new.get("required", False)
    if before == after:
        return
    if in_request:
        yield Change(where, "is required now" if after else "is optional now", breaking=after)
    else:
        yield Change(where, "is always there now" if after else "may be absent now", breaking=before)


def _breaking(found: list[Change]) -> int:
    return sum(each.breaking for each in found)


def resolve(document: Document, node: Node) -> Schema:
    """The schema that a reference leads to, together with the keywords beside the reference."""
    schema = node if isinstance(node, dict) else (_ANY if node else _NOTHING)
    while _REF in schema:
        path = schema[_REF].removeprefix("#/").split("/")
        names = [name.replace("~1", "/").replace("~0", "~") for name in path]
        schema = {**reduce(lambda at, name: at[name], names, document), **{k: schema[k] for k in schema if k != _REF}}
    return schema


def _alternatives(document: Document, node: Node) -> list[Schema]:
    """The schema as a list of alternatives, each of one type, without references, `allOf`, `anyOf` and `oneOf`."""
    schema = resolve(document, node)
    own = {key: value for key, value in schema.items() if key not in {"allOf", "anyOf", "oneOf", "nullable"}}
    if "const" in own:
        own["enum"] = [own.pop("const")]
    found = _by_type(own)
    for each in schema.get("allOf", ()):
        found = _both(found, _alternatives(document, each))
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            found = _both(found, [one for each in schema[keyword] for one in _alternatives(document, each)])
    # OpenAPI 3.0 writes `nullable` in place of the type "null".
    return [*found, {"type": "null"}] if schema.get("nullable") else found


def _by_type(schema: Schema) -> list[Schema]:
    types = schema.get("type", list(dict.fromkeys(map(_type, schema.get("enum", ())))))
    if not types:
        return [schema]
    return [_of_type(schema, each) for each in ([types] if isinstance(types, str) else types)]


def _of_type(schema: Schema, type_: str) -> Schema:
    if type_ == "null":
        return {"type": "null"}
    if "enum" not in schema:
        return {**schema, "type": type_}
    fitting = (type_, "integer") if type_ == "number" else (type_,)
    return {**schema, "type": type_, "enum": [value for value in schema["enum"] if _type(value) in fitting]}


def _type(value: Any) -> str:
    return _TYPES[type(value)]


def _both(one: list[Schema], other: list[Schema]) -> list[Schema]:
    return [merged for a in one for b in other if (merged := _merged(a, b)) is not None]


def _merged(one: Schema, other: Schema) -> Schema | None:
    """The schema of the values that both schemas allow; None if there are none."""
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if key == "type" and a != b:
            if {a, b} != {"integer", "number"}:
                return None
            merged[key] = "integer"
        elif key in _UPPER:
            merged[key] = min(a, b)
        elif key in _LOWER:
            merged[key] = max(a, b)
        elif key == "enum":
            merged[key] = [value for value in a if value in b]
        elif key == "required":
            merged[key] = [*a, *(name for name in b if name not in a)]
        elif key == "properties":
            common = {name: {"allOf": [a[name], b[name]]} for name in a.keys() & b.keys() if a[name] != b[name]}
            merged[key] = {**a, **b, **common}
        elif key in {"items", "additionalProperties"} and a != b:
            merged[key] = {"allOf": [a, b]}
        elif key not in _ANNOTATIONS and a != b:
            merged[key] = f"{a} and {b}"
    return merged


def _without(schemas: list[Schema], schema: Schema) -> list[Schema]:
    return [each for each in schemas if each is not schema]


def _kind(schema: Schema) -> str:
    if "type" not in schema:
        return "of any type" if "not" not in schema else "nothing"
    return f"{schema['type']} {schema['format']}" if "format" in schema else str(schema["type"])


def was(old: Schema, new: Schema, keyword: str) -> str:
    """A keyword's values before and after."""
    return f"{_json(old[keyword]) if keyword in old else 'none'} → {_json(new[keyword]) if keyword in new else 'none'}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
