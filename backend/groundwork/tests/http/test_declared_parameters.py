"""Each value that the service accepts fits the parameter's declared pattern. Swagger UI sends no other values."""

import asyncio
import re
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from starlette.requests import Request

from groundwork.http.conditional import get_condition
from groundwork.http.idempotency import get_key
from groundwork.text import UserIdText

_blanks = st.text(" \t", max_size=2)
_tag = st.builds("{}{}".format, st.sampled_from(["", "W/"]), st.from_regex(r'"[!#-~]*"', fullmatch=True))
_element = st.builds("{}{}{}".format, _blanks, st.one_of(_tag, st.just("")), _blanks)
_tags = st.one_of(st.just("*"), st.lists(_element, max_size=4).map(",".join))
_keys = st.one_of(
    st.uuids().map(str),
    st.uuids().map('"{}"'.format),
    st.from_regex(r"[!#-+\--:<-\[\]-~]{1,255}", fullmatch=True),
    st.from_regex(r'"[ !#-\[\]-~]{1,255}"', fullmatch=True),
)
_user_ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50)


def _request(name: str, value: str) -> Request:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(name.lower().encode(), value.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}
    return Request(scope, receive)


def _accept(name: str, value: str) -> None:
    if name == "user_id":
        TypeAdapter(UserIdText).validate_python(value)
    else:
        read = get_key if name == "Idempotency-Key" else get_condition
        asyncio.run(read(_request(name, value)))


VALUES = {"If-Match": _tags, "If-None-Match": _tags, "Idempotency-Key": _keys, "user_id": _user_ids}


@pytest.fixture
def patterns(app: FastAPI) -> dict[str, set[str]]:
    """The declared patterns of each parameter that has one."""
    found: dict[str, set[str]] = {}
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if "pattern" in parameter["schema"]:
                    found.setdefault(parameter["name"], set()).add(parameter["schema"]["pattern"])
    return found


def test_every_parameter_with_a_pattern_is_tried(patterns: dict[str, set[str]]) -> None:
    assert patterns.keys() == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_what_is_accepted_fits_the_pattern(patterns: dict[str, set[str]], name: str) -> None:
    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] - its metaclass has no types
    )
    @given(VALUES[name])
    def fits(value: str) -> None:
        _accept(name, value)
        # A header's value has no blanks at its ends (RFC 9110, 5.5).
        sent = value if name == "user_id" else value.strip(" \t")
        for pattern in patterns[name]:
            assert re.search(pattern, sent), (pattern, sent)

    fits()
