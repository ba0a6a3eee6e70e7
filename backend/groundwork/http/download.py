"""A response that is sent part by part, for the client to save as a file."""

import csv
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from io import StringIO
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Send

Row = TypeVar("Row", bound=BaseModel)

_PART_CHARACTERS = 16 * 1024


class Download(StreamingResponse):
    """A download in constant memory. When it ends, or the client leaves, its generator is closed at once.

    Args:
        parts: the file's content.
        filename: what the client calls the file.
        media_type: the file's type.
    """

    def __init__(self, parts: AsyncGenerator[bytes], *, filename: str, media_type: str) -> None:
        disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        super().__init__(parts, media_type=media_type, headers={"Content-Disposition": disposition})
        self._parts = parts

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._parts):
            await super().stream_response(send)


async def csv_of(rows: AsyncGenerator[Row], columns: Iterable[str]) -> AsyncGenerator[bytes]:
    """The rows as CSV (RFC 4180) in UTF-8, a line with the names of the columns first.

    Args:
        rows: closed at the end, or when this generator is closed.
        columns: the names of the rows' fields, in their order.
    """
    text = StringIO()
    names = [*columns]
    lines = csv.writer(text)
    lines.writerow(names)
    async with aclosing(rows):
        async for row in rows:
            values = row.model_dump(mode="json", include={*names})
            lines.writerow([values[name] for name in names])
            if text.tell() >= _PART_CHARACTERS:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
    yield text.getvalue().encode()
