"""The bodies of requests and responses, one class for each role."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from groundwork.http.bodies import EXAMPLE_KEY, EXAMPLE_TIMES, Changes, RequestBody, examples
from groundwork.ids import Id
from groundwork.text import Text, TrimmedText

Title = Annotated[str, TrimmedText(200)]
Description = Annotated[str, Text(1000)]

_EXAMPLE: dict[str, Any] = {"title": "Buy milk", "description": "Two litres, the blue one", "completed": False}


class TaskCreate(RequestBody):
    """A new task. Unknown members are ignored."""

    model_config = ConfigDict(json_schema_extra=examples(_EXAMPLE))

    title: Title = Field(description="White space at its ends is removed.")
    description: Description | None = None
    # A default from a factory stays out of the OpenAPI document. With one there, openapi-typescript makes the member
    # required.
    completed: bool = Field(default_factory=bool, description="False when it is left out.")


class TaskUpdate(Changes):
    """What to change. Members that are left out stay as they are; a `description` of null clears it."""

    model_config = ConfigDict(json_schema_extra=examples({"title": "Buy oat milk"}))

    title: Title = Field(default_factory=str, description="White space at its ends is removed.")
    description: Description | None = Field(default_factory=lambda: None)
    completed: bool = Field(default_factory=bool)


class TaskRead(BaseModel):
    model_config = ConfigDict(json_schema_extra=examples({**EXAMPLE_KEY, **_EXAMPLE, **EXAMPLE_TIMES}))

    id: Id = Field(description="Sorts by creation (UUIDv7).")
    user_id: str
    title: str
    description: str | None
    completed: bool
    created_at: datetime
    updated_at: datetime = Field(description="Every change makes it later.")
