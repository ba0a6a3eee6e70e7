"""The largest request body that is read. A limit keeps one request from filling the worker's memory."""

from starlette.types import Message, Receive

from groundwork.errors import ContentTooLarge, Invalid

# Enough for every number below 2**64, the largest that the parser accepts without leading zeros.
_MAX_DIGITS = 20


def require_length_within(limit_bytes: int, content_length: bytes) -> None:
    """Check the length that the client declares.

    Args:
        limit_bytes: the largest length that is accepted.
        content_length: the value of the header Content-Length. The server has checked that it consists of digits.

    Raises:
        Invalid: there are more than 20 digits, such as leading zeros. `int()` cannot read very long numbers.
        ContentTooLarge: the length is larger than the limit.
    """
    if len(content_length) > _MAX_DIGITS:
        msg = f"A length of more than {_MAX_DIGITS} digits"
        raise Invalid.at("header", "Content-Length", msg=msg, type="content_length")
    if int(content_length) > limit_bytes:
        raise ContentTooLarge(limit_bytes)


def receive_within(limit_bytes: int, receive: Receive) -> Receive:
    """A `receive` that raises `ContentTooLarge` as soon as the body is larger than the limit.

    It is for bodies that come in chunks and declare no length.
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
