"""A service's own errors: their status, type and title, in the answer and in the document."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter

from groundwork.errors import AppError, Conflict, Invalid, NotFound
from groundwork.http.problems import problem_responses
from groundwork.http.routing import UserId, router_of
from groundwork.serve.application import create_app
from groundwork.serve.settings import Settings
from groundwork.testing.contract.document import PROBLEM
from groundwork.testing.http import assert_problem, client_of


class OutOfStock(Conflict):
    type = "https://api.example.com/problems/out-of-stock"
    title = "Out of stock"
    detail = "There are not enough of these in stock."


class PaymentRequired(AppError):
    status = 402
    detail = "The subscription has ended: renew it."


class Withdrawn(NotFound):
    """An error without a status, type or title of its own."""


class TooCold(Invalid):
    type = "/problems/too-cold"


ERRORS: list[tuple[AppError, int, str]] = [
    (OutOfStock(), 409, "Out of stock"),
    (OutOfStock("There are 2 in stock."), 409, "Out of stock"),
    (PaymentRequired(), 402, "Payment Required"),
    (Withdrawn(), 404, "Not Found"),
    (TooCold.at("body", "degrees", msg="Too cold", type="cold"), 400, "Bad Request"),
    (Conflict("As before."), 409, "Conflict"),
]
router: APIRouter = router_of("orders")


@router.get("/{number}", responses=problem_responses(Withdrawn, Conflict, OutOfStock, PaymentRequired))
async def get_order(user_id: UserId, number: int) -> None:
    raise ERRORS[number][0]


@pytest.fixture(params=[pytest.param(True, id="fast", marks=pytest.mark.fast), pytest.param(False, id="stock")])
async def client(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings, resources=[router], fast=request.param)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.parametrize("number", range(len(ERRORS)))
async def test_the_answer_has_its_status_type_and_title(client: httpx.AsyncClient, number: int) -> None:
    error, status, title = ERRORS[number]
    problem = assert_problem(await client.get(f"/api/alice/orders/{number}"), status, type(error))
    assert (problem["title"], problem["detail"]) == (title, error.detail)


async def test_the_document_describes_them(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/api/{user_id}/orders/{number}"]["get"]["responses"]
    components = document["components"]["examples"]
    examples = {name: components[name]["value"] for name in ("OutOfStock", "PaymentRequired", "Withdrawn", "Conflict")}
    assert {
        status: [*response["content"][PROBLEM]["examples"]]
        for status, response in responses.items()
        if status in "402 409"
    } == {"402": ["PaymentRequired"], "409": ["Conflict", "OutOfStock"]}
    assert examples["OutOfStock"] == {
        "type": OutOfStock.type,
        "title": OutOfStock.title,
        "status": 409,
        "detail": OutOfStock.detail,
    }
    assert responses["409"]["description"] == (
        "The request contradicts an earlier request or the current state. Or: There are not enough of these in stock."
    )
    assert examples["PaymentRequired"] == {
        "type": "about:blank",
        "title": "Payment Required",
        "status": 402,
        "detail": PaymentRequired.detail,
    }
    assert examples["Withdrawn"]["detail"] == Withdrawn.detail
    assert responses["404"]["description"] == "There is no such number."


@pytest.mark.parametrize("status", [None, 999])
def test_an_error_without_a_status_is_refused_and_told_how_to_get_one(status: int | None) -> None:
    kind = type("Unknown", (AppError,), {"status": status})
    with pytest.raises(TypeError, match="Unknown: give it an HTTP status, as in `status = 402`"):
        problem_responses(kind)
