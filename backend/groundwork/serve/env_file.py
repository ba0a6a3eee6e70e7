"""The variables of the environment and of a `.env` file, if there is one.

A `.env` that cannot be read stops the start, because half of it would be worse than none. pydantic-settings is not
used: it leaves out a line that it cannot parse, ignores a folder of that name, and ends in a traceback if the text is
not UTF-8. It also takes white space for a value, and lower-case names for settings.
"""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from groundwork.serve.config_error import config_error


def read_variables(file: Path) -> dict[str, str]:
    """The variables of the environment and of the file. The environment wins.

    White space at the ends of a value is removed, because files with secrets often end with a newline, and no setting
    needs any. A variable that is then empty counts as not set.

    Raises:
        SystemExit: the file cannot be read.
    """
    return _stripped(read_env_file(file)) | _stripped(os.environ)


def _stripped(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value.strip() for name, value in values.items() if value.strip()}


def read_env_file(file: Path) -> dict[str, str]:
    """The variables of the file; none when there is no file.

    Raises:
        SystemExit: it cannot be read. One line on standard error names the place, and never shows a value.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise config_error(f"{file.name}: is not UTF-8 text; write it again, from .env.example") from None
    except OSError as error:
        raise config_error(
            f"{file.name}: cannot be read: {os.strerror(error.errno or 0)}; make it a file that this user can read"
        ) from None
    # Imported here, because most services have no such file in production.
    from dotenv import dotenv_values  # noqa: PLC0415
    from dotenv.parser import parse_stream  # noqa: PLC0415

    wrong = [binding.original.line for binding in parse_stream(StringIO(text)) if binding.error]
    if wrong:
        raise config_error(f"{file.name}: line {wrong[0]} cannot be read; expected NAME=value, and quotes in pairs")
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value}
