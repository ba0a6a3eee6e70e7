"""A compressed body is refused with its own message, and not as invalid JSON."""

import gzip

import httpx
import pytest

from groundwork.tests.http import ALICE, MISSING_ID, assert_problem, in_chunks

BODY = b'{"title": "x"}'
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "encoding", ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip,", "a"]
)
@pytest.mark.parametrize(("method", "path"), [("POST", ALICE), ("PUT", f"{ALICE}/{MISSING_ID}")])
async def test_an_encoded_body_is_415_and_says_what_is_taken(
    client: httpx.AsyncClient, method: str, path: str, encoding: str
) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    answer = await client.request(method, path, content=gzip.compress(BODY), headers=headers)
    assert "without Content-Encoding" in assert_problem(answer, 415)["detail"]
    assert answer.headers["accept-encoding"] == "identity"
    assert (await client.get(ALICE)).json() == []


async def test_also_one_whose_length_is_not_known(client: httpx.AsyncClient) -> None:
    headers = {**JSON, "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
    answer = await client.post(ALICE, content=in_chunks([gzip.compress(BODY)]), headers=headers)
    assert_problem(answer, 415)


async def test_also_one_that_is_encoded_twice(client: httpx.AsyncClient) -> None:
    headers = [*JSON.items(), ("Content-Encoding", "gzip"), ("Content-Encoding", "identity")]
    assert_problem(await client.post(ALICE, content=gzip.compress(BODY), headers=headers), 415)


@pytest.mark.parametrize("encoding", ["identity", "Identity", "", " ", "identity, identity"])
async def test_a_body_that_is_not_encoded_is_taken(client: httpx.AsyncClient, encoding: str) -> None:
    answer = await client.post(ALICE, content=BODY, headers={**JSON, "Content-Encoding": encoding})
    assert answer.status_code == 201


async def test_a_request_without_a_body_may_say_what_it_likes(client: httpx.AsyncClient) -> None:
    assert (await client.get(ALICE, headers={"Content-Encoding": "gzip"})).status_code == 200


async def test_another_media_type_names_no_encoding(client: httpx.AsyncClient) -> None:
    answer = await client.post(ALICE, content=BODY, headers={"Content-Type": "text/plain"})
    assert "must be JSON" in assert_problem(answer, 415)["detail"]
    assert "accept-encoding" not in answer.headers
