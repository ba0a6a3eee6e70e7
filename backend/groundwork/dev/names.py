"""The forms of a project's name, and the replacement of one name by another."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields

# Letters of Latin alphabets that Unicode does not take apart into a letter and an accent.
_OTHER_LATIN = str.maketrans("øłđð\u0131ØŁĐÐ", "olddiOLDD") | str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ẞ": "Ss", "Æ": "Ae", "Œ": "Oe", "Þ": "Th"}
)


class UnusableNameError(ValueError):
    """The name cannot be used. The message says what a name must be."""


@dataclass(frozen=True)
class Names:
    """One name in five forms. If forms are equal, `rename` takes the first of them, and inside a word the last."""

    title: str
    """As people read it: Acme Orders."""
    slug: str
    """For images, containers, hosts and namespaces: acme-orders."""
    identifier: str
    """Where a hyphen is not allowed: acme_orders."""
    constant: str
    """In names of environment variables: ACME_ORDERS."""
    joined: str
    """In names of classes: AcmeOrders."""

    @classmethod
    def of(cls, title: str) -> "Names":
        """All forms of a title.

        Raises:
            UnusableNameError: an image, a host name or a Python string could not hold it.
        """
        if not re.fullmatch(r"[^\W\d_][\w .-]*", title) or not title[0].isupper():
            raise UnusableNameError(
                "must begin with a capital letter and have only letters, digits, spaces, hyphens and dots"
            )
        plain = in_ascii(title)
        words = re.findall(r"[A-Za-z0-9]+", plain)
        slug = "-".join(words).lower()
        if not re.fullmatch(r"[a-z][a-z0-9-]{2,29}", slug):
            raise UnusableNameError("must have 3 to 30 letters and digits, and begin with a letter from A to Z")
        identifier = slug.replace("-", "_")
        joined = "".join(word[0].upper() + word[1:] for word in words)
        return cls(title, slug, identifier, identifier.upper(), joined)

    def forms(self) -> Iterator[tuple[str, str]]:
        return ((field.name, getattr(self, field.name)) for field in fields(self))


def in_ascii(title: str) -> str:
    """The title in the letters from A to Z: "Größe" becomes "Grosse".

    Raises:
        UnusableNameError: a letter has no such form.
    """
    apart = unicodedata.normalize("NFKD", title.translate(_OTHER_LATIN))
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    if other := sorted({letter for letter in plain if not letter.isascii()}):
        raise UnusableNameError(
            f"has letters without a form from A to Z ({', '.join(other)}), which images and hosts need: write it in"
            " Latin letters"
        )
    return plain


def rename(text: str, old: Names, new: Names) -> str:
    """The text with every form of the old name replaced by the same form of the new one."""
    forms = sorted({form for _, form in old.forms()}, key=len, reverse=True)
    pattern = "|".join(map(re.escape, forms))

    def same_form(match: re.Match[str]) -> str:
        kinds = [kind for kind, form in old.forms() if form == match[0]]
        around = text[match.start() - 1 : match.start()] + text[match.end() : match.end() + 1]
        # `acme` in `acme_requests` can only be the identifier, and `Acme` in `AcmeClient` only the joined form.
        in_a_word = re.search(r"\w", around) is not None
        kind: str = getattr(new, kinds[-1] if in_a_word else kinds[0])
        return kind

    return re.sub(pattern, same_form, text)
