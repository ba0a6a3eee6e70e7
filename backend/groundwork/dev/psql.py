"""`make psql`: a SQL prompt in the database of DATABASE_URL, by the psql that comes with the embedded PostgreSQL."""

import asyncio
import os
import sys
from typing import NoReturn
from urllib.parse import unquote, urlsplit, urlunsplit

from groundwork.data.dsn import read_url
from groundwork.dev.opened import opened
from groundwork.dev.postgres import EmbeddedPostgresError, find_binaries
from groundwork.dev.schema import why_not


def arguments_of(url: str) -> tuple[str, dict[str, str]]:
    """The URL for psql, and its variables. The password is in these: other users can see a command's arguments.

    Parameters that the service ignores, such as `pgbouncer=true`, are left out, because psql refuses unknown ones.
    """
    parts = urlsplit(url)
    ignored = read_url(url).ignored
    query = "&".join(each for each in parts.query.split("&") if unquote(each.partition("=")[0]) not in ignored)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    shown = urlunsplit(parts._replace(scheme="postgresql", netloc=f"{name}{at}{host}", query=query))
    return shown, {"PGPASSWORD": unquote(password)} if colon else {}


async def _why_not() -> str | None:
    async with opened() as database:
        return await why_not(database, "make psql")


def main(arguments: list[str]) -> NoReturn:
    """Become psql."""
    url, variables = arguments_of(os.environ["DATABASE_URL"])
    try:
        program = find_binaries() / "bin" / "psql"
    except EmbeddedPostgresError as error:
        sys.exit(str(error))
    if sys.stdin.isatty() and (problem := asyncio.run(_why_not())):
        print(problem, file=sys.stderr)
    os.execve(program, [str(program), url, *arguments], {**os.environ, **variables})  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
