"""The largest request body that is read. A limit keeps one request from filling the worker's memory."""

from starlette.types import Message, Receive

from groundwork.errors import ContentTooLarge, Invalid

# Enough for every number below 2**64, the largest that the parser accepts without leading zeros.
_MAX_DIGITS = 20


def require_length_within(limit_bytes: int, content_length: bytes) -> None:
    """Check the length that the client declares.

    Args:
        limit_bytes: the largest length that is accepted.
        content_length: the value of the header Content-Length, which the server has checked to be digits.

    Raises:
        Invalid: it has more than 20 digits. Leading zeros allow that, and `int()` refuses to read very long numbers.
        ContentTooLarge: it is larger than the limit.
    """
    if len(content_length) > _MAX_DIGITS:
        msg = f"A length of more than {_MAX_DIGITS} digits"
        raise Invalid.at("header", "Content-Length", msg=msg, type="content_length")
    if int(content_length) > limit_bytes:
        raise ContentTooLarge(limit_bytes)


def receive_within(limit_bytes: int, receive: Receive) -> Receive:
    """A `receive` that counts the body's bytes: a body that comes in chunks declares no length.

    It raises `ContentTooLarge` as soon as the body is larger than the limit.
    """
    received = 0

    async def counting_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise ContentTooLarge(limit_bytes)
        return message

    return counting_receive
