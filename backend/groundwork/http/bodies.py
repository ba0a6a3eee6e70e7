"""What the bodies of requests and responses share."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.types import Message as ASGIMessage
from starlette.types import Receive


class RequestBody(BaseModel):
    """Of the types that it names, and no others; unknown members are ignored, so that a whole resource can be sent."""

    model_config = ConfigDict(strict=True)


class Changes(RequestBody):
    """What to change. Members that are left out stay as they are.

    A default stands for "not given" and is never written; made by `default_factory`, it stays out of the OpenAPI
    document.
    """

    def fields_set(self) -> dict[str, Any]:
        """The members that were given."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Message(BaseModel):
    message: str


# What an example of a response has besides the resource's own members.
EXAMPLE_KEY = {"id": "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c", "user_id": "alice"}
EXAMPLE_TIMES = {"created_at": "2026-11-23T17:39:08.123456Z", "updated_at": "2026-11-23T17:39:08.123456Z"}


def examples(*bodies: dict[str, Any]) -> dict[str, Any]:
    """A model's `json_schema_extra`."""
    return {"examples": list(bodies)}


def is_json_request(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether Content-Type is `application/json` or another JSON type, such as `application/merge-patch+json`.

    It agrees with FastAPI, which hands a body of any other type to the route as bytes.
    """
    for name, value in headers:
        if name == b"content-type":
            return value == b"application/json" or _is_json_type(value.decode("latin-1"))
    return False


def _is_json_type(content_type: str) -> bool:
    type_, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return type_ == "application" and "/" not in subtype and (subtype == "json" or subtype.endswith("+json"))


def replay_body(body: bytes, receive: Receive) -> Receive:
    """`receive` with a body that has been read already."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> ASGIMessage:
        return pending.pop() if pending else await receive()

    return receive_again
