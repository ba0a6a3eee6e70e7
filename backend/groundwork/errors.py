"""The errors that a request can end with. They know nothing of HTTP: `http.problems` maps them to statuses."""

from typing import Any, TypedDict


class Rejection(TypedDict):
    """One part of a request that breaks a rule."""

    loc: list[str | int]
    """Where it is, such as `["body", "title"]`."""
    msg: str
    """What is wrong, for people."""
    type: str
    """What is wrong, as a stable name for programs."""


class AppError(Exception):
    """Base class of every error that is answered with a problem document.

    A service's own error derives from it, or from an error below whose status fits. The cause, for the log, is chained
    with `raise ... from`.
    """

    detail = "The request failed."
    """A sentence for the client. It must hold nothing internal."""

    type = "about:blank"
    """A URI that names the kind of problem. `about:blank` leaves that to the status."""

    title: str | None = None
    """The kind of problem in a few words. None for the name of the status."""

    status: int | None = None
    """The HTTP status. None for that of the base class."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.detail
        super().__init__(self.detail)


class Invalid(AppError):
    """The request breaks a rule. `errors` lists every part that does.

    `detail` says where the first of them is and what is wrong with it, unless the class has a `detail` of its own.
    """

    detail = "The request is not valid; see errors."

    def __init__(self, errors: list[Rejection]) -> None:
        super().__init__(_first(errors) if errors and type(self).detail is Invalid.detail else None)
        self.errors = errors

    @classmethod
    def at(cls, *loc: str | int, msg: str, type: str) -> "Invalid":
        """The error for a single part of the request; the arguments are those of `Rejection`."""
        return cls([{"loc": list(loc), "msg": msg, "type": type}])


class Unauthenticated(AppError):
    """The request holds no credentials."""

    detail = "The request needs a bearer token, sent with Authorization: Bearer."


class InvalidToken(Unauthenticated):
    """The bearer token is not accepted. `detail` must be ASCII without quotation marks, because a header repeats it."""


class Forbidden(AppError):
    """The user lacks the role that the route asks for."""

    detail = "This needs a role that your token does not have."


class NotFound(AppError):
    """It does not exist, or it belongs to another user."""

    detail = "There is nothing at this path."


class PreconditionFailed(AppError):
    """The row has none of the versions that the request's conditional headers ask for."""

    detail = "This was changed in the meantime: read it again, and send the new ETag."


class Conflict(AppError):
    """The request contradicts an earlier request or the stored data."""


class ContentTooLarge(AppError):
    """The request body exceeds the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes} bytes.")


class UnsupportedMediaType(AppError):
    """The request body is not JSON."""

    detail = "The request body must be JSON, sent with Content-Type: application/json."


class UnsupportedEncoding(UnsupportedMediaType):
    """The request body is compressed or encoded."""

    detail = "The request body must not be compressed or encoded: send it as it is, without Content-Encoding."


class TooManyRequests(AppError):
    """The user has sent more requests than the limit allows."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"You have sent too many requests: send the next one in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class Unavailable(AppError):
    """The database is away or the service is at capacity. The same request may succeed shortly."""

    detail = "The service is temporarily unavailable; try again shortly."


def rejections(errors: list[Any], body: Any = None) -> list[Rejection]:
    """Pydantic's error details, without the parts that repeat the input or link to pydantic's documentation.

    Args:
        body: the text of the body, if FastAPI's own parser has found that it is not JSON.
    """
    return [
        _malformed(error, body)
        if error["type"] == "json_invalid" and error["input"] == {}  # of FastAPI, not of a member
        else {"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]}
        for error in errors
    ]


def _malformed(error: Any, body: Any) -> Rejection:
    """The rejection of a body that is not JSON. FastAPI's own message says neither the reason nor the place."""
    reason = str(error["ctx"]["error"]).removesuffix(" at")
    if " at line " not in reason:
        end, text = error["loc"][-1], str(body)
        reason += f" at line {text.count(chr(10), 0, end) + 1} column {end - text.rfind(chr(10), 0, end)}"
    return {"loc": ["body"], "msg": f"This is not valid JSON: {reason}", "type": error["type"]}


def _first(errors: list[Rejection]) -> str:
    where = ".".join(str(part) for part in errors[0]["loc"][1:] or errors[0]["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {errors[0]['msg']}{more}"
