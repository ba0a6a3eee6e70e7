"""Which values of Content-Type mean JSON."""

import httpx
import pytest

from groundwork.http.bodies import is_json_request
from groundwork.http.body_limit import body_limit
from groundwork.tests.http import ALICE, assert_problem

JSON = ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/merge-patch+json ; v=1"]
OTHER = ["", "json", "text/json", "text/plain", "application/xml", "application/json5", "application/x/y+json"]


@pytest.mark.parametrize("content_type", JSON)
async def test_a_json_type_is_read(client: httpx.AsyncClient, content_type: str) -> None:
    assert is_json_request([(b"host", b"x"), (b"content-type", content_type.encode())])
    response = await client.post(ALICE, content=b'{"title": "x"}', headers={"content-type": content_type})
    assert response.status_code == 201


@pytest.mark.parametrize("content_type", OTHER)
async def test_any_other_type_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    assert not is_json_request([(b"content-type", content_type.encode())])
    response = await client.post(ALICE, content=b'{"title": "x"}', headers={"content-type": content_type})
    assert_problem(response, 415)


def test_without_the_header_it_is_not_json() -> None:
    assert not is_json_request([(b"host", b"x")])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_routes_own_limit_leaves_room_for_a_body(limit: int) -> None:
    with pytest.raises(ValueError, match=f"the limit of a body is {limit} bytes: give 1 or more"):
        body_limit(limit)
