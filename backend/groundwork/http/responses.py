"""OpenAPI `responses` of the usual operations. `routing.router_of` adds the responses that all operations share."""

from typing import Any

from groundwork.errors import ContentTooLarge, NotFound, UnsupportedMediaType
from groundwork.http.conditional import ETAG, NOT_MODIFIED, PRECONDITION_FAILED
from groundwork.http.idempotency import KeyReused
from groundwork.http.problems import header, problem_responses

Responses = dict[int | str, dict[str, Any]]

_BODY = problem_responses(ContentTooLarge, UnsupportedMediaType)
_LOCATION = {"Location": header("The new resource's path.")}
_LINK = {"Link": header('The next page, `rel="next"`; absent on the last.')}

LISTED: Responses = {200: {"headers": _LINK}}
CREATED: Responses = {**_BODY, **problem_responses(KeyReused), 201: {"headers": {**_LOCATION, **ETAG}}}
DELETED: Responses = {**problem_responses(NotFound), **PRECONDITION_FAILED}
WRITTEN: Responses = {**DELETED, 200: {"headers": ETAG}}
UPDATED: Responses = {**WRITTEN, **_BODY}
READ: Responses = {**WRITTEN, **NOT_MODIFIED}
