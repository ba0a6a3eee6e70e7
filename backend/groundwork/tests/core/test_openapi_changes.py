"""What a change of the OpenAPI document means for clients: each kind of change, in requests and in responses."""

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from groundwork.testing.openapi_changes import changes, describe, main, render, require_current

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}


def document(**schemas: Schema) -> Schema:
    """A service with one operation."""
    return {
        "openapi": "3.1.0",
        "paths": {
            "/things/{id}": {
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": STRING}],
                "put": {
                    "operationId": "put_thing",
                    "parameters": [
                        {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 10, "default": 5}}
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sent"}}},
                    },
                    "responses": {
                        "200": {
                            "description": "Done.",
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Got"}}},
                            "headers": {"ETag": {"required": True, "schema": STRING}},
                        },
                        "404": {"description": "Missing."},
                    },
                },
            }
        },
        "components": {"schemas": {"Sent": STRING, "Got": STRING, **schemas}},
    }


def put(of: Schema) -> Schema:
    operation: Schema = of["paths"]["/things/{id}"]["put"]
    return operation


def outcome(old: Schema, new: Schema) -> str:
    """`breaking`, `added`, both, or `same`."""
    found = {each.breaking for each in changes(old, new)}
    return {(): "same", (True,): "breaking", (False,): "added"}.get(tuple(found), "both")


def members(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def either(*schemas: Schema, keyword: str = "anyOf") -> Schema:
    return {keyword: list(schemas)}


SAME, BREAKING, ADDED = "same", "breaking", "added"


@pytest.mark.parametrize(
    ("old", "new", "in_request", "in_response"),
    [
        # Fewer values, then more.
        ({**STRING, "maxLength": 9}, {**STRING, "maxLength": 5}, BREAKING, ADDED),
        ({**STRING, "maxLength": 5}, {**STRING, "maxLength": 9}, ADDED, BREAKING),
        (STRING, {**STRING, "maxLength": 9}, BREAKING, ADDED),
        ({**STRING, "maxLength": 9}, STRING, ADDED, BREAKING),
        ({**STRING, "minLength": 1}, {**STRING, "minLength": 2}, BREAKING, ADDED),
        ({**INTEGER, "minimum": 2}, {**INTEGER, "minimum": 1}, ADDED, BREAKING),
        ({**NUMBER, "exclusiveMaximum": 2}, {**NUMBER, "exclusiveMaximum": 1}, BREAKING, ADDED),
        ({"type": "array", "maxItems": 2}, {"type": "array", "maxItems": 1}, BREAKING, ADDED),
        # Patterns and formats.
        (STRING, {**STRING, "pattern": "^a"}, BREAKING, ADDED),
        ({**STRING, "pattern": "^a"}, STRING, ADDED, BREAKING),
        ({**STRING, "pattern": "^a"}, {**STRING, "pattern": "^b"}, BREAKING, BREAKING),
        (STRING, {**STRING, "format": "uuid"}, BREAKING, ADDED),
        ({**STRING, "format": "date"}, {**STRING, "format": "date-time"}, BREAKING, BREAKING),
        # Types.
        (STRING, INTEGER, BREAKING, BREAKING),
        (INTEGER, NUMBER, ADDED, BREAKING),
        (NUMBER, INTEGER, BREAKING, ADDED),
        ({}, STRING, BREAKING, ADDED),
        (STRING, {}, ADDED, BREAKING),
        # Values.
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, BREAKING, ADDED),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, ADDED, BREAKING),
        (STRING, {**STRING, "enum": ["a"]}, BREAKING, ADDED),
        ({"const": "a"}, {**STRING, "enum": ["a"]}, SAME, SAME),
        ({"enum": ["a", 1]}, {"anyOf": [{"const": "a"}, {"const": 1}]}, SAME, SAME),
        # Null, in each of its three spellings.
        (STRING, either(STRING, NULL), ADDED, BREAKING),
        (either(STRING, NULL), STRING, BREAKING, ADDED),
        (either(STRING, NULL), {"type": ["string", "null"]}, SAME, SAME),
        (either(STRING, NULL), {"type": "string", "nullable": True}, SAME, SAME),
        ({"type": ["string", "null"], "enum": ["a", None]}, {"type": "string", "enum": ["a"]}, BREAKING, ADDED),
        # Alternatives.
        (either(STRING, INTEGER), either(INTEGER, STRING, keyword="oneOf"), SAME, SAME),
        (either(STRING, INTEGER), STRING, BREAKING, ADDED),
        (either(STRING, INTEGER), either(STRING, NUMBER), ADDED, BREAKING),
        (either(INTEGER, NUMBER), NUMBER, SAME, ADDED),
        (NUMBER, either(INTEGER, NUMBER), ADDED, SAME),
        (either({**STRING, "maxLength": 5}, NULL), either({**STRING, "maxLength": 4}, NULL), BREAKING, ADDED),
        # All of several.
        ({"allOf": [STRING, {"maxLength": 5}]}, {**STRING, "maxLength": 5}, SAME, SAME),
        ({"allOf": [{**STRING, "maxLength": 9}, {"maxLength": 5}]}, {**STRING, "maxLength": 5}, SAME, SAME),
        ({"allOf": [STRING, {"minLength": 1}]}, {"allOf": [STRING, {"minLength": 2}]}, BREAKING, ADDED),
        (
            {"allOf": [members(("a",), a=STRING), members(b=STRING)]},
            {"allOf": [members(("a",), a=STRING), members(("b",), b=STRING)]},
            BREAKING,
            ADDED,
        ),
        ({"allOf": [members(a=STRING), members(a={"minLength": 1})]}, members(a=STRING), ADDED, BREAKING),
        ({"allOf": [either(STRING, NULL), STRING]}, STRING, SAME, SAME),
        # Members.
        (members(a=STRING), members(a=STRING, b=STRING), ADDED, ADDED),
        (members(a=STRING), members(("b",), a=STRING, b=STRING), BREAKING, ADDED),
        (members(a=STRING), members(("a",), a=STRING), BREAKING, ADDED),
        (members(("a",), a=STRING), members(a=STRING), ADDED, BREAKING),
        (members(a=STRING, b=STRING), members(a=STRING), BREAKING, BREAKING),
        (members(a=STRING), members(a=INTEGER), BREAKING, BREAKING),
        (members(a=members(b=STRING)), members(a=members(b={**STRING, "maxLength": 5})), BREAKING, ADDED),
        (members(), {**members(), "additionalProperties": False}, BREAKING, ADDED),
        ({**members(), "additionalProperties": False}, members(), ADDED, ADDED),
        (
            {**members(), "additionalProperties": INTEGER},
            {**members(), "additionalProperties": NUMBER},
            ADDED,
            BREAKING,
        ),
        # Items.
        ({"type": "array", "items": NUMBER}, {"type": "array", "items": INTEGER}, BREAKING, ADDED),
        ({"type": "array"}, {"type": "array", "items": True}, SAME, SAME),
        ({"type": "array"}, {"type": "array", "items": False}, BREAKING, ADDED),
        # Words.
        ({**STRING, "title": "A", "description": "Old."}, {**STRING, "examples": ["x"]}, SAME, SAME),
        # A change that cannot be judged counts as breaking.
        ({"not": STRING}, {"not": INTEGER}, BREAKING, BREAKING),
    ],
    ids=json.dumps,
)
def test_a_schema(old: Schema, new: Schema, in_request: str, in_response: str) -> None:
    assert outcome(document(Sent=old), document(Sent=new)) == in_request
    assert outcome(document(Got=old), document(Got=new)) == in_response
    assert outcome(document(Sent=new), document(Sent=deepcopy(new))) == SAME
    assert outcome(document(Got=new), document(Got=deepcopy(new))) == SAME


def test_a_default_that_a_client_relies_on() -> None:
    new = document()
    put(new)["parameters"][0]["schema"]["default"] = 6
    assert outcome(document(), new) == BREAKING
    assert outcome(document(Got={**STRING, "default": "a"}), document(Got={**STRING, "default": "b"})) == SAME


NESTED = {
    "Sent": members(a={"$ref": "#/components/schemas/Outer"}),
    "Got": {"type": "array", "items": {"$ref": "#/components/schemas/Outer"}},
    "Outer": members(inner={"$ref": "#/components/schemas/Inner"}),
}


def test_behind_references_each_change_is_told_once_for_each_direction() -> None:
    old = document(**NESTED, Inner=members(x={**STRING, "maxLength": 5}))
    new = document(**NESTED, Inner=members(x={**STRING, "maxLength": 4}))
    put(new)["responses"]["404"]["content"] = put(old)["responses"]["404"]["content"] = {
        "application/json": {"schema": {"$ref": "#/components/schemas/Inner"}}
    }
    assert list(map(str, changes(old, new))) == [
        "request schema Inner.x: maxLength: 5 → 4",
        "response schema Inner.x: maxLength: 5 → 4",
    ]
    assert [each.breaking for each in changes(old, new)] == [True, False]


def test_a_reference_is_what_it_leads_to() -> None:
    old = document(Got=members(a=STRING))
    new = document(Got=members(a={"$ref": "#/components/schemas/Name"}), Name=STRING)
    assert outcome(old, new) == SAME


@pytest.mark.parametrize("changed", [{"maxLength": 4}, {"type": "integer"}])
def test_a_schema_that_contains_itself(changed: Schema) -> None:
    def tree(value: Schema) -> Schema:
        return members(value=value, children={"type": "array", "items": {"$ref": "#/components/schemas/Tree"}})

    sent = members(tree={"$ref": "#/components/schemas/Tree"})
    old, new = document(Sent=sent, Tree=tree(STRING)), document(Sent=sent, Tree=tree({**STRING, **changed}))
    assert outcome(old, old) == SAME
    [change] = changes(old, new)
    assert change.breaking
    assert change.where == "request schema Tree.value"


def at(new: Schema, *path: str) -> Schema:
    node = put(new)
    for name in path:
        node = node[name]
    return node


def remove(*path: str) -> Any:
    return lambda new: at(new, *path[:-1]).pop(path[-1])


def add(value: Any, *path: str) -> Any:
    return lambda new: at(new, *path[:-1]).update({path[-1]: value})


JSON = {"application/json": {"schema": STRING}}


@pytest.mark.parametrize(
    ("change", "there", "back"),
    [
        (remove("responses", "404"), BREAKING, ADDED),
        (remove("responses", "200", "headers", "ETag"), BREAKING, ADDED),
        (remove("responses", "200", "headers", "ETag", "required"), BREAKING, ADDED),
        (add(JSON["application/json"], "responses", "200", "content", "text/plain"), ADDED, BREAKING),
        (remove("responses", "200", "content", "application/json"), BREAKING, ADDED),
        (add(JSON["application/json"], "requestBody", "content", "text/plain"), ADDED, BREAKING),
        (remove("requestBody", "content", "application/json"), BREAKING, ADDED),
        (remove("requestBody", "required"), ADDED, BREAKING),
        (remove("requestBody"), BREAKING, BREAKING),
        (add("store_thing", "operationId"), BREAKING, BREAKING),
        (add([{"token": []}], "security"), BREAKING, ADDED),
        (lambda new: put(new)["parameters"].pop(), BREAKING, ADDED),
        (lambda new: put(new)["parameters"][0].update(required=True), BREAKING, ADDED),
        (lambda new: put(new)["parameters"][0].update(style="pipeDelimited"), BREAKING, BREAKING),
        (lambda new: put(new)["parameters"][0]["schema"].update(maximum=9), BREAKING, ADDED),
        (lambda new: put(new)["parameters"].append({"name": "x", "in": "query", "required": True}), BREAKING, BREAKING),
        (lambda new: new["paths"].update({"/more": {"get": {"responses": {}}}}), ADDED, BREAKING),
        (lambda new: new["paths"]["/things/{id}"].update(get={"responses": {}}), ADDED, BREAKING),
        (lambda new: new["paths"].clear(), BREAKING, ADDED),
        (lambda new: new["components"]["schemas"].update(Unused=STRING), SAME, BREAKING),
        (add("Other words.", "description"), SAME, SAME),
    ],
)
def test_an_operation(change: Any, there: str, back: str) -> None:
    old, new = document(), document()
    change(new)
    assert old != new
    assert outcome(old, new) == there
    assert outcome(new, old) == back


def test_names_of_headers_have_no_case() -> None:
    old, new = document(), document()
    put(old)["parameters"].append({"name": "If-Match", "in": "header", "schema": STRING})
    put(new)["parameters"].append({"name": "if-match", "in": "header", "schema": STRING})
    headers = put(new)["responses"]["200"]["headers"]
    headers["etag"] = headers.pop("ETag")
    assert outcome(old, new) == SAME


def test_what_stands_in_components_counts_where_it_is_used() -> None:
    new = document()
    new["components"]["parameters"] = {"Limit": {**put(new)["parameters"][0], "required": True}}
    put(new)["parameters"] = [{"$ref": "#/components/parameters/Limit"}]
    assert [str(each) for each in changes(document(), new)] == [
        "PUT /things/{id}, query parameter limit: is required now"
    ]


def test_the_failure_says_what_the_change_means_and_what_to_do(tmp_path: Path) -> None:
    copy = tmp_path / "openapi.json"
    with pytest.raises(AssertionError, match=r"openapi\.json is not there\. Run `make openapi`, which writes it\."):
        require_current(copy, document())
    copy.write_text(render(document(Got=members(a=STRING))), "utf-8")
    require_current(copy, document(Got=members(a=STRING)))
    with pytest.raises(AssertionError) as failure:
        require_current(copy, document(Got=members(b=STRING)))
    message = str(failure.value)
    assert "This change breaks clients:\n  - response schema Got.a: the member is gone\n" in message
    assert "This change adds:\n  - response schema Got.b: the member is new\n" in message
    assert "`make openapi` writes the new copy" in message
    assert '-          "a": {' in message
    assert '+          "b": {' in message


def test_other_words_are_no_change_to_clients() -> None:
    assert describe(changes(document(), document())) == "Clients do not notice this change: only its words differ."


def test_a_document_is_compared_with_one_of_another_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "openapi.json"
    copy.write_text(render(document()), "utf-8")
    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message=first")
    assert main(["main:openapi.json", "openapi.json"]) == 0
    assert capsys.readouterr().out == "The documents are the same.\n"
    copy.write_text(render(document(Sent={**STRING, "maxLength": 5})), "utf-8")
    assert main(["main:openapi.json", "openapi.json"]) == 1
    assert capsys.readouterr().out.startswith(
        "This change breaks clients:\n  - request schema Sent: maxLength: none → 5"
    )
    assert main(["openapi.json", "main:openapi.json"]) == 0
    assert capsys.readouterr().out.startswith("This change adds:")
    assert main(["elsewhere:openapi.json", "openapi.json"]) == 2
    assert "git cannot show elsewhere:openapi.json" in capsys.readouterr().err
    copy.write_text("{", "utf-8")
    assert main(["main:openapi.json", "openapi.json"]) == 2
    assert "openapi.json is not JSON" in capsys.readouterr().err
    assert main(["openapi.json"]) == 2
