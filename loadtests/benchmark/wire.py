"""The part of HTTP/1.1 that a load generator needs."""

from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_TAG = b"\r\netag: "
_NOT_MODIFIED = b"304"


class Answer(NamedTuple):
    status: int
    size: int
    """The size of the whole answer with its head, in bytes."""


def request(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    """A whole request. `headers` consists of whole lines."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{content}{headers}\r\n".encode() + body


def read_answer(data: bytes) -> Answer | None:
    """The answer in `data`; None if it is not complete yet. It must have a Content-Length, or be a 304."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[: end + 2].lower()
    if head[9:12] == _NOT_MODIFIED:
        return Answer(int(head[9:12]), end + len(_HEAD_END))
    place = head.index(_LENGTH) + len(_LENGTH)
    size = end + len(_HEAD_END) + int(head[place : head.index(b"\r", place)])
    return Answer(int(head[9:12]), size) if len(data) >= size else None


def read_tag(data: bytes) -> bytes:
    """The ETag of an answer that has one."""
    start = data.index(_TAG) + len(_TAG)
    return data[start : data.index(b"\r", start)]
