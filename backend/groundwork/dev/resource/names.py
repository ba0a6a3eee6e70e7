"""The forms of a resource's name."""

import keyword
import re
from dataclasses import dataclass

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from groundwork.dev.resource.errors import ResourceError

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Longer ones would make lines too long.
_LONGEST = 25
# Modules of the resource have these names already.
_TAKEN = {"condition", "create", "cursor", "database", "delete", "found", "id", "ids", "insert", "key", "limit"}
_TAKEN |= {"owned", "partial", "place", "request", "response", "router", "select", "status", "update", "user", "users"}


@dataclass(frozen=True)
class Name:
    """A resource's name in the singular and in the plural, as in `order_line` and `order_lines`."""

    one: str
    many: str

    @property
    def model(self) -> str:
        """The name of its class: OrderLine."""
        return joined(self.one)

    @property
    def words(self) -> str:
        return self.one.replace("_", " ")

    @property
    def words_of_many(self) -> str:
        return self.many.replace("_", " ")

    @property
    def constant(self) -> str:
        """The name of its entry in the tests: ORDER_LINE."""
        return self.one.upper()

    @property
    def regular(self) -> bool:
        return self.many == f"{self.one}s"


def name_of(one: str, many: str) -> Name:
    """The name.

    Args:
        one: the singular.
        many: the plural. If it is empty, it is made by the rules of English.

    Raises:
        ResourceError: it cannot be the name of a resource.
    """
    name = Name(one, many or plural(one))
    for text, variable in ((name.one, "NAME"), (name.many, "PLURAL")):
        require_name(text, f"{variable}={text}")
    if name.one == name.many:
        raise ResourceError(f"The plural of {one} must be another word than the singular: add PLURAL={one}_list.")
    if taken := {name.one, name.many} & _TAKEN:
        raise ResourceError(f"The code of every resource has the name {taken.pop()}: write another, as NAME=own_{one}.")
    return name


def require_name(text: str, place: str) -> None:
    """Refuse what cannot be a name in Python and in SQL.

    Args:
        text: the name.
        place: how the sentence names it.
    """
    if not _NAME.fullmatch(text) or len(text) > _LONGEST:
        raise ResourceError(
            f"{place}: write a name of at most {_LONGEST} small letters, digits and underscores, as order_line."
        )
    if keyword.iskeyword(text) or text in RESERVED_WORDS:
        raise ResourceError(f"{place}: {text!r} is a word of Python or SQL. Write another name, as {text}_entry.")


def plural(one: str) -> str:
    if re.search(r"[^aeiou]y$", one):
        return f"{one[:-1]}ies"
    return f"{one}es" if re.search(r"(s|x|z|ch|sh)$", one) else f"{one}s"


def joined(name: str) -> str:
    """The name as that of a class: order_line is OrderLine."""
    return "".join(part.title() for part in name.split("_"))


def article(words: str) -> str:
    """The words with `a` or `an` before them."""
    return f"{'an' if re.match(r'(?!us|uni|eu|one)[aeiou]', words) else 'a'} {words}"
