"""Base classes and helpers for the bodies of requests and responses."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from starlette.types import Message as ASGIMessage
from starlette.types import Receive

from groundwork.data.values import as_json


class RequestBody(BaseModel):
    """A request body whose members must have exactly the declared types: `"1"` is not a number.

    Unknown members are ignored, so that a client can send back a whole resource. `docs/values.md` says which form each
    type has.
    """

    model_config = ConfigDict(strict=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        reference = handler(source)
        if cls.__pydantic_complete__:  # another model contains this one, whose schema is adapted already
            return reference
        schema: Any = handler.resolve_ref_schema(reference)
        while schema["type"] != "model-fields":  # the model's own validators may wrap it
            schema = schema["schema"]
        for field in schema["fields"].values():
            field["schema"] = as_json(field["schema"], handler, RequestBody)
        return reference


class Changes(RequestBody):
    """The body of a partial update: members that are left out stay as they are.

    Give every member a default with `default_factory`. It only makes the member optional, and is never written. A
    default from a factory does not appear in the OpenAPI document.
    """

    def fields_set(self) -> dict[str, Any]:
        """The members that the client sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def _without_description(schema: dict[str, Any]) -> None:
    schema.pop("description", None)


class Message(BaseModel):
    """The body of an answer that only says in a sentence what was done."""

    # The docstring is for readers of the code. The name of the schema says enough to readers of the document.
    model_config = ConfigDict(json_schema_extra=_without_description)

    message: str


# The members that the examples of all responses share.
EXAMPLE_KEY = {"id": "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c", "user_id": "alice"}
EXAMPLE_TIMES = {"created_at": "2026-11-23T17:39:08.123456Z", "updated_at": "2026-11-23T17:39:08.123456Z"}


def examples(*bodies: dict[str, Any]) -> dict[str, Any]:
    """The examples of a model, as `json_schema_extra` of its `model_config`."""
    return {"examples": list(bodies)}


def is_json_request(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether Content-Type is `application/json` or another JSON type, such as `application/merge-patch+json`.

    FastAPI decides in the same way. It passes a body of any other type to the route as bytes.
    """
    for name, value in headers:
        if name == b"content-type":
            return value == b"application/json" or _is_json_type(value.decode("latin-1"))
    return False


def _is_json_type(content_type: str) -> bool:
    type_, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return type_ == "application" and "/" not in subtype and (subtype == "json" or subtype.endswith("+json"))


def replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first returns a body that was read already, and then calls the original `receive`."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> ASGIMessage:
        return pending.pop() if pending else await receive()

    return receive_again
