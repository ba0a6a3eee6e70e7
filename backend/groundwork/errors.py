"""What can go wrong, in the words of the domain. Nothing here knows of HTTP: `core.problems` holds that table."""

from typing import Any, TypedDict


class Rejection(TypedDict):
    """One rejected part of a request: where (`["body", "title"]`), what is wrong, and a stable name for it."""

    loc: list[str | int]
    msg: str
    type: str


class AppError(Exception):
    """Base of every error that has an answer.

    `detail` is for the client: a sentence that holds nothing internal. The cause, for the log, is chained with `from`.
    """

    detail = "The request failed."

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.detail
        super().__init__(self.detail)


class Invalid(AppError):
    """The request's content breaks a rule."""

    detail = "The request is not valid; see errors."

    def __init__(self, errors: list[Rejection]) -> None:
        super().__init__()
        self.errors = errors

    @classmethod
    def at(cls, *loc: str | int, msg: str, type: str) -> "Invalid":
        return cls([{"loc": list(loc), "msg": msg, "type": type}])


class Unauthenticated(AppError):
    """Nothing says who is asking."""

    detail = "The request needs a bearer token, sent with Authorization: Bearer."


class InvalidToken(Unauthenticated):
    """What says who is asking cannot be believed. `detail` is an ASCII text without quotation marks."""


class NotFound(AppError):
    """No such thing for this user; also when it exists and belongs to another."""

    detail = "There is nothing at this path."


class PreconditionFailed(AppError):
    """Someone else was faster: the thing is in none of the versions for which the request is meant."""

    detail = "This was changed in the meantime: read it again, and send the new ETag."


class Conflict(AppError):
    """The request contradicts an earlier one, or what there is."""


class ContentTooLarge(AppError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes} bytes.")


class UnsupportedMediaType(AppError):
    detail = "The request body must be JSON, sent with Content-Type: application/json."


class UnsupportedEncoding(UnsupportedMediaType):
    detail = "The request body must not be compressed or encoded: send it as it is, without Content-Encoding."


class Unavailable(AppError):
    """The database is away or the service is full: the same request may succeed shortly."""

    detail = "The service is temporarily unavailable; try again shortly."


def rejections(errors: list[Any]) -> list[Rejection]:
    """Pydantic's error details without the parts that echo the input or point to other hosts."""
    return [{"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]} for error in errors]
