from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from app.core.ids import Id
from app.core.text import WITHOUT_NUL, without_nul

Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(without_nul),
    Field(json_schema_extra={"pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}),  # no NUL, and more than white space
]
Description = Annotated[
    str,
    StringConstraints(max_length=1000),
    AfterValidator(without_nul),
    Field(json_schema_extra={"pattern": WITHOUT_NUL}),
]

_EXAMPLE: dict[str, Any] = {"title": "Buy milk", "description": "Two litres, the blue one", "completed": False}


class TaskCreate(BaseModel):
    """A new task. Unknown members are ignored."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [_EXAMPLE]})

    title: Title = Field(description="White space at its ends is removed.")
    description: Description | None = None
    # From a factory, the default stays out of the document: TypeScript's generator asks for a member that has one.
    completed: bool = Field(default_factory=bool, description="False when it is left out.")


class TaskUpdate(BaseModel):
    """What to change. Members that are left out stay as they are; a `description` of null clears it."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"title": "Buy oat milk"}]})

    # The defaults stand for "not given" and are never written; from a factory, they stay out of the OpenAPI document.
    title: Title = Field(default_factory=str, description="White space at its ends is removed.")
    description: Description | None = Field(default_factory=lambda: None)
    completed: bool = Field(default_factory=bool)

    def changes(self) -> dict[str, Any]:
        """The members that were given."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class TaskRead(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0198c0de-7a3e-7c41-9d5b-3f6f0f1e2d3c",
                    "user_id": "alice",
                    **_EXAMPLE,
                    "created_at": "2026-11-23T17:39:08.123456Z",
                    "updated_at": "2026-11-23T17:39:08.123456Z",
                }
            ]
        }
    )

    id: Id = Field(description="Sorts by creation (UUIDv7).")
    user_id: str
    title: str
    description: str | None
    completed: bool
    created_at: datetime
    updated_at: datetime = Field(description="Later after every change.")


class Message(BaseModel):
    message: str
