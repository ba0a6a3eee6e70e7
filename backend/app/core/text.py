"""Text as PostgreSQL can hold it."""

from pydantic_core import PydanticCustomError

WITHOUT_NUL = r"^[^\x00]*$"
"""The same rule as `without_nul`, for the OpenAPI document."""


def without_nul(value: str) -> str:
    """Refuse the one character that PostgreSQL's text types cannot hold."""
    if "\0" in value:
        raise PydanticCustomError("nul_character", "The text must not hold a NUL character")
    return value
