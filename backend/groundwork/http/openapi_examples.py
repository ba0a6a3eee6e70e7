"""Examples of the OpenAPI document, made from routes and schemas: of parameters, bodies, answers and errors."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Request

from groundwork.errors import Invalid, Rejection, rejections
from groundwork.http.bodies import EXAMPLE_KEY, EXAMPLE_TIMES
from groundwork.http.conditional import entity_tag, get_condition
from groundwork.http.idempotency import HEADER, KeyReused, get_key
from groundwork.http.overload import REFUSAL
from groundwork.http.paging import bad_cursor, encode_cursor
from groundwork.http.paths import HEALTH_PREFIX
from groundwork.http.problems import MEDIA_TYPE, problem_of, problem_responses
from groundwork.http.protected_routes import functions_of

Schema = dict[str, Any]

_JSON = "application/json"
_TIME = EXAMPLE_TIMES["updated_at"]
_TAG = entity_tag(datetime.fromisoformat(_TIME)).decode()
_PARAMETERS = {"user_id": EXAMPLE_KEY["user_id"], HEADER: EXAMPLE_KEY["id"], "If-Match": _TAG, "If-None-Match": _TAG}
_BAD_CURSOR = Invalid.at("query", "cursor", msg=bad_cursor().message(), type=bad_cursor().type)
_CURSOR = encode_cursor(UUID(EXAMPLE_KEY["id"]))
_FORMATS = {"uuid": EXAMPLE_KEY["id"], "cursor": _CURSOR, "date-time": _TIME, "date": _TIME[:10]}
_TYPES = {"boolean": True, "string": "text", "object": {}, "integer": 1, "number": 1}
_TEXTS = ("1", "12:00:00", "P1D")
"""Texts with a pattern are mostly numbers, times and durations."""
_WRONG = ("-", "")
"""One of them is wrong for most types of parameters."""
_MALFORMED = Invalid.at("body", msg="This is not valid JSON: trailing comma at line 1 column 9", type="json_invalid")
"""What the body {"a": 1,} is answered with."""
_WRONG_HEADER = b"a b"
"""A value that is neither a key nor a list of entity tags."""


def add_examples(document: Schema, path: str, operation: Schema, context: Any) -> None:
    """Add examples wherever the operation has none. Examples of several operations stand in the document once.

    Args:
        context: FastAPI's context of the operation's route.
    """
    for parameter in operation.get("parameters", ()):
        _add_to_parameter(document, parameter)
    _add_to_body(document, operation, operation.get("requestBody", {}))
    for status, response in operation["responses"].items():
        _add_to_body(document, operation, response)
        content = response.get("content", {}).get(MEDIA_TYPE)
        if content and "examples" in content:
            causes = _causes(status, content["examples"], path, operation, context)
            content["examples"] = {name: shared(document, "examples", name, each) for name, each in causes.items()}


def shared(document: Schema, kind: str, name: str, value: Schema) -> Schema:
    """Add the value as a component and return a reference to it; or the value, if another component has the name."""
    name = re.sub(r"[^\w.-]", "_", name)
    is_same = document["components"].setdefault(kind, {}).setdefault(name, value) == value
    return {"$ref": f"#/components/{kind}/{name}"} if is_same else value


def _add_to_parameter(document: Schema, parameter: Schema) -> None:
    """Add an example. Swagger UI fills in a parameter's example, so an optional one has its example in the schema."""
    schema = parameter.get("schema", {})
    value = _PARAMETERS.get(parameter["name"]) or _sample(document, schema)
    if not parameter.get("required"):
        schema.setdefault("examples", [value])
    elif "examples" not in parameter:
        parameter.setdefault("example", value)


def _add_to_body(document: Schema, operation: Schema, body: Schema) -> None:
    content = body.get("content", {}).get(_JSON, {})
    if "schema" not in content or {"example", "examples"} & content.keys():
        return
    value = _sample(document, content["schema"])
    verb, _, noun = operation["operationId"].partition("_")
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    if name == "Message" and verb == "delete":
        value, name = {"message": f"{noun.replace('_', ' ').capitalize()} deleted successfully"}, ""
    if name:
        content["examples"] = {name: shared(document, "examples", name, {"value": value})}
    else:
        content["example"] = value


def _sample(document: Schema, schema: Schema, above: tuple[str, ...] = ()) -> Any:
    """A value of the schema: its example, or one that is made from its members."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        # A schema can contain itself.
        return None if name in above else _sample(document, document["components"]["schemas"][name], (*above, name))
    members = schema.get("properties", {})
    for value in (*schema.get("examples", ()), *schema.get("enum", ())):
        # pydantic has sorted the members of an example by name.
        return {each: value[each] for each in (*members, *value) if each in value} if members else value
    for value in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        return schema["default"] if "default" in schema else _sample(document, value, above)
    if schema.get("type") == "array":
        item = _sample(document, schema.get("items", {}), above)
        return [] if item is None else [item]
    if members:
        return {name: _sample(document, each, above) for name, each in members.items()}
    usual = _FORMATS.get(schema.get("format", ""), _TYPES.get(schema.get("type", "")))
    if not _fits(schema, str(usual)):
        usual = next((text for text in _TEXTS if _fits(schema, text)), None)
    return next((schema[keyword] for keyword in ("default", "const", "minimum") if keyword in schema), usual)


def _fits(schema: Schema, text: str) -> bool:
    """Whether the text has the schema's pattern. A pattern of JavaScript that Python cannot read counts as met."""
    try:
        return bool(re.search(schema.get("pattern", ""), text))
    except re.error:
        return True


def _causes(status: str, examples: Schema, path: str, operation: Schema, context: Any) -> Schema:
    """All examples of an error, one for each cause. Some causes follow from the operation, not from error classes."""
    if Invalid.__name__ in examples:
        for rejected in filter(None, _rejections(operation, context)):
            examples.setdefault(".".join(map(str, rejected[0]["loc"])), _problem(Invalid(rejected)))
        if _takes_json(operation):
            examples["MalformedJSON"] = _problem(_MALFORMED)
        if len(examples) > 1:
            del examples[Invalid.__name__]
    *_, last = re.findall(r"{(\w+)}", path) or [""]
    if "NotFound" in examples and last.endswith("_id") and last != "user_id":
        # As `require_found` says it.
        words = last.removesuffix("_id").replace("_", " ")
        detail = f"{words.capitalize()} not found."
        value = {**examples["NotFound"]["value"], "detail": detail}
        examples[f"{words.title().replace(' ', '')}NotFound"] = {"value": value}
        if "401" not in operation["responses"]:
            del examples["NotFound"]
    if "Unavailable" in examples and not path.startswith(HEALTH_PREFIX):
        examples["Overloaded"] = {"value": json.loads(bytes(REFUSAL.body))}
    if status == "409" and any(parameter["name"] == HEADER for parameter in operation.get("parameters", ())):
        examples |= problem_responses(KeyReused)[409]["content"][MEDIA_TYPE]["examples"]
    return examples


def _problem(error: Invalid) -> Schema:
    return {"value": json.loads(bytes(problem_of(error).body))}


def _takes_json(operation: Schema) -> bool:
    return _JSON in operation.get("requestBody", {}).get("content", {})


def _rejections(operation: Schema, context: Any) -> Iterator[list[Rejection]]:
    """How the operation rejects a wrong value, for each parameter and for the body."""
    parameters = {each["name"]: each for each in operation.get("parameters", ())}
    for function in functions_of(context.dependant):
        for field in (*function.path_params, *function.query_params):
            # In a path, only a parameter of the type `segment` can be empty. An empty one of another type would make
            # another path.
            values = _WRONG[: 1 + (field in function.query_params or f"{{{field.alias}:segment}}" in context.path)]
            schema = parameters.get(field.alias, {}).get("schema", {})
            parts = (schema, *schema.get("anyOf", ()))
            is_list = any(each.get("type") == "array" for each in parts)
            loc = (field.field_info.in_.value, field.alias)
            found = _first(field, loc, [[each] if is_list else each for each in values])
            is_cursor = any(each.get("format") == "cursor" for each in parts)
            # A list that clients sort reads the cursor only when it knows the order.
            yield found or (_BAD_CURSOR.errors if is_cursor else [])
        if function.call in (get_key, get_condition):
            for name in (name for name, each in parameters.items() if each["in"] == "header"):
                yield _refusal(function.call, name)
    if context.body_field and _takes_json(operation):
        yield _first(context.body_field, ("body",), ({}, []))


def _first(field: Any, loc: tuple[str, ...], values: Iterable[Any]) -> list[Rejection]:
    """The rejections of the first value that is not valid."""
    found = (field.validate(value, {}, loc=loc)[1] for value in values)
    return rejections(next(filter(None, found), []))


def _refusal(dependency: Any, header: str) -> list[Rejection]:
    """How a dependency rejects a wrong header; nothing if it does not read it. It raises before its first await."""
    try:
        dependency(Request({"type": "http", "headers": [(header.lower().encode(), _WRONG_HEADER)]})).send(None)
    except (Invalid, StopIteration) as end:
        return getattr(end, "errors", [])
    return []
