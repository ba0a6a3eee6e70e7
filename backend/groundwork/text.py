"""Types for text that PostgreSQL can store."""

from collections.abc import Iterator
from typing import Annotated

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

WITHOUT_NUL = r"^[^\x00]*$"
"""The rule of `without_nul` as a regular expression, for the OpenAPI document."""
_MORE_THAN_WHITE_SPACE = r"^[^\x00]*[^\s\x00][^\x00]*$"

# Every character that Unicode calls white space. pydantic strips the same ones.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def without_nul(value: str) -> str:
    """Return the text unchanged.

    Raises:
        PydanticCustomError: the text has a NUL character, which PostgreSQL's text types cannot store.
    """
    if "\0" in value:
        raise PydanticCustomError("nul_character", "The text must not hold a NUL character")
    return value


class Text(GroupedMetadata):
    """The type of a text with a maximum length in characters: `Annotated[str, Text(1000)]`."""

    def __init__(self, max_length: int) -> None:
        if max_length < 1:
            raise ValueError(f"a text of at most {max_length} characters is none: give 1 or more")
        self._max_length = max_length

    def __iter__(self) -> Iterator[object]:
        yield from StringConstraints(max_length=self._max_length)
        yield AfterValidator(without_nul)
        yield WithJsonSchema({"type": "string", "maxLength": self._max_length, "pattern": WITHOUT_NUL})


class TrimmedText(Text):
    """The type of a text that is not empty. White space at its ends is removed.

    The constraint `tables.stripped` keeps the same rule in the database.
    """

    def __iter__(self) -> Iterator[object]:
        yield from StringConstraints(strip_whitespace=True, min_length=1, max_length=self._max_length)
        yield AfterValidator(without_nul)
        lengths = {"minLength": 1, "maxLength": self._max_length}
        yield WithJsonSchema({"type": "string", **lengths, "pattern": _MORE_THAN_WHITE_SPACE})


USER_ID_LENGTH = 255
"""How many characters a user's id has at most, in requests and in the column `user_id`."""

UserIdText = Annotated[str, StringConstraints(min_length=1, max_length=USER_ID_LENGTH), AfterValidator(without_nul)]
"""A user's id, as the identity provider gives it."""
