"""The variables that the service is given: by its environment, and by a `.env` file where there is one.

A `.env` that cannot be read stops the start: half of it would be worse than none.
"""

import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path


def read_variables(file: Path) -> dict[str, str]:
    """What the environment sets, and what the file sets beside it.

    White space at the ends of a value is no part of it: files that hold secrets often end with a newline, and none of
    the settings needs any. A variable that is then empty counts as not set.

    Raises:
        SystemExit: the file cannot be read.
    """
    return _stripped(read_env_file(file)) | _stripped(os.environ)


def _stripped(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in values.items() if value.strip()}


def read_env_file(file: Path) -> dict[str, str]:
    """What the file sets; nothing when it is not there.

    Raises:
        SystemExit: it cannot be read; one line on standard error says where, and never what stands there.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise _stop(file, "is no text in UTF-8; write it again, from .env.example") from None
    except OSError as error:
        raise _stop(file, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    return _values(file, text)


def _values(file: Path, text: str) -> dict[str, str]:
    # Here, because most services have no such file in production.
    from dotenv import dotenv_values  # noqa: PLC0415
    from dotenv.parser import parse_stream  # noqa: PLC0415

    wrong = [binding.original.line for binding in parse_stream(StringIO(text)) if binding.error]
    if wrong:
        raise _stop(file, f"line {wrong[0]} cannot be read; expected NAME=value, and quotes in pairs")
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}


def _stop(file: Path, problem: str) -> SystemExit:
    sys.stderr.write(f"{file.name}: {problem}\n")
    return SystemExit(os.EX_CONFIG)
