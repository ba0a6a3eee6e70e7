"""Examples that the document makes from a schema."""

import re
from typing import Any

import pytest

from groundwork.http.openapi_examples import _sample


@pytest.mark.parametrize("pattern", [r"^-?\d{1,10}(\.\d{1,2})?$", r"^\d\d:\d\d:\d\d$", r"^P\d+D$", r"^[^\x00]*$"])
def test_a_sample_has_the_pattern(pattern: str) -> None:
    assert re.search(pattern, _sample({}, {"type": "string", "pattern": pattern}))


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        ({"type": "string", "pattern": r"^\p{Lu}+$"}, "text"),  # a pattern of JavaScript, with the flag v
        ({"type": "string", "pattern": "^[0-9]{40}$"}, None),
        ({"anyOf": [{"type": "string", "pattern": r"^[\p{L}]$"}, {"type": "null"}]}, "text"),
    ],
)
def test_what_it_cannot_judge_or_make_ends_nothing(schema: dict[str, Any], sample: str | None) -> None:
    assert _sample({}, schema) == sample
