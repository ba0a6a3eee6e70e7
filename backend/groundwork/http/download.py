"""A response that is sent part by part, for the client to save as a file."""

import csv
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from io import StringIO
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel
from starlette.responses import StreamingResponse

Row = TypeVar("Row", bound=BaseModel)

_PART_CHARACTERS = 16 * 1024
# What spreadsheets take for a formula (OWASP, CSV Injection), but no number. With the apostrophe itself, a reader knows
# that the first apostrophe of a cell was added.
_needs_apostrophe = re.compile(r"(?![-+]?\d+(\.\d+)?\Z)['=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", re.ASCII).match


class Download(StreamingResponse):
    """A file that is sent part by part, in constant memory.

    Args:
        parts: the file's content.
        filename: what the client calls the file.
        media_type: the file's type.
        status_code: the status. For the OpenAPI document, FastAPI reads its default from a route's `response_class`.
    """

    def __init__(self, parts: AsyncIterable[bytes], *, filename: str, media_type: str, status_code: int = 200) -> None:
        disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        super().__init__(parts, status_code, {"Content-Disposition": disposition}, media_type)


async def csv_of(rows: AsyncIterable[Row], columns: Iterable[str], *, exact: bool = False) -> AsyncIterator[bytes]:
    """The rows as CSV (RFC 4180) in UTF-8. The first line has the names of the columns.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, and so does one that begins with an
    apostrophe. A program that reads the file removes the first apostrophe of a cell.

    Args:
        columns: the names of the rows' fields, in their order.
        exact: whether texts are written as they are, for programs only.
    """
    text = StringIO()
    names = [*columns]
    lines = csv.writer(text)
    lines.writerow(names)
    async for row in rows:
        values = row.model_dump(mode="json", include={*names})
        lines.writerow([values[name] if exact else _cell(values[name]) for name in names])
        if text.tell() >= _PART_CHARACTERS:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _needs_apostrophe(value) else value
