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
_TAKEN = {"condition", "create", "cursor", "database", "delete", "found", "id", "ids", "insert", "key"}
_TAKEN |= {"owned", "partial", "place", "request", "response", "router", "select", "status", "update"}
# Some that end as a plural does, and are none; and plurals that end otherwise.
_NO_PLURALS = {"alias", "atlas", "bias", "canvas", "gas", "lens"}
_IRREGULAR = {"children": "child", "feet": "foot", "geese": "goose", "men": "man", "mice": "mouse", "people": "person"}
_IRREGULAR |= {"teeth": "tooth", "women": "woman"}


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


def name_of(one: str, many: str, variable: str = "NAME") -> Name:
    """The name.

    Args:
        one: the singular.
        many: the plural. If it is empty, it is made by the rules of English.
        variable: what says it in the command's line.

    Raises:
        ResourceError: it cannot be the name of a resource.
    """
    name = Name(one, many or plural(one))
    require_name(name.one, f"{variable}={name.one}")
    singular = singular_of(one)
    if singular and not many:
        raise ResourceError(
            f"{variable}={one}: {one!r} looks like a plural: write the singular, {variable}={singular}, or add its plural, as"
            f" PLURAL={one}_list."
        )
    require_name(name.many, f"PLURAL={name.many}")
    if name.one == name.many:
        raise ResourceError(f"The plural of {one} must be another word than the singular: add PLURAL={one}_list.")
    if name.many in RESERVED_WORDS:
        raise ResourceError(
            f"PLURAL={name.many}: this is a word of SQL, and would be the table's name. Add PLURAL={one}_list."
        )
    if f"{one}_id" == "user_id":
        raise ResourceError(
            f"{variable}=user: user_id already says whose a row is, here and in the path of every route. Write another name, as"
            f" {variable}=member or {variable}=account."
        )
    if taken := {name.one, name.many} & _TAKEN:
        raise ResourceError(
            f"{variable}={one}: the code of every resource has the name {taken.pop()} for something else. Write another, as"
            f" {variable}=own_{one}."
        )
    return name


def require_name(text: str, place: str) -> None:
    """Refuse what cannot be a name in Python. SQL's own words are quoted where they are columns.

    Args:
        text: the name.
        place: how the sentence names it.
    """
    if not _NAME.fullmatch(text) or len(text) > _LONGEST:
        raise ResourceError(
            f"{place}: write a name of at most {_LONGEST} small letters, digits and underscores, as order_line."
        )
    if keyword.iskeyword(text):
        raise ResourceError(f"{place}: {text!r} is a word of Python itself. Write another name, as {text}_entry.")


def singular_of(word: str) -> str | None:
    """The singular of what looks like a plural. None if it looks like none."""
    before, _, last = word.rpartition("_")
    start = f"{before}_" if before else ""
    if last in _IRREGULAR:
        return start + _IRREGULAR[last]
    if not re.search(r"[^sui]s$", last) and not re.search(r"(ss|x|z|ch|sh)es$", last):
        return None
    if last in _NO_PLURALS or len(last) <= len("bus"):
        return None
    shorter = (f"{last[:-3]}y", last[:-2], last[:-1])
    return next((start + each for each in shorter if each and plural(each) == last), None)


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
