"""A `.env` that cannot be read stops the start: half of it would be worse than none."""

import os
import sys
from pathlib import Path

from dotenv.parser import parse_stream


def require_readable(file: Path) -> None:
    """Read the file to its end; one that is not there is fine.

    Raises:
        SystemExit: it cannot be read; one line on standard error says where, and never what stands there.
    """
    if problem := _problem(file):
        sys.stderr.write(f"{file.name}: {problem}\n")
        raise SystemExit(os.EX_CONFIG)


def _problem(file: Path) -> str | None:
    try:
        with file.open(encoding="utf-8") as stream:
            wrong = [binding.original.line for binding in parse_stream(stream) if binding.error]
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return "is no text in UTF-8; write it again, from .env.example"
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    return f"line {wrong[0]} cannot be read; expected NAME=value, and quotes in pairs" if wrong else None
