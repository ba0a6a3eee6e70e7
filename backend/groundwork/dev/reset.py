"""`make reset`: empties the database that `make run` starts by itself, after a question or with CONFIRM=yes."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

from groundwork.dev.__main__ import DATA, ROOT
from groundwork.dev.postgres import DATABASE, EmbeddedPostgres, EmbeddedPostgresError, InUseError
from groundwork.serve.env_file import read_variables
from groundwork.serve.settings import ENV_FILE

_YES = {"y", "Y", "yes"}
_OWN = """\
DATABASE_URL is set, and make reset empties only the database that make run starts without it. To empty yours, run
  make psql ARGS="-c 'DROP SCHEMA public CASCADE' -c 'CREATE SCHEMA public'"
and then make migrate."""


async def _empty(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


def _problem(data: Path, place: str, *, confirmed: bool) -> str | None:
    """Empty the database; returns why that was not done, as a sentence."""
    if not confirmed and not sys.stdin.isatty():
        return f"This deletes every table in {place}. If you mean it, run make reset CONFIRM=yes"
    try:
        with EmbeddedPostgres(data) as server:
            if not confirmed and input(f"Delete every table and row of the database in {place}? [y/N] ") not in _YES:
                return "Nothing was deleted: the answer must be y for that."
            asyncio.run(_empty(server))
    except InUseError:
        return f"make run or another command uses the database in {place}: stop it, then make reset"
    except EmbeddedPostgresError as error:
        return str(error)
    return None


def main(data: Path = DATA) -> int:
    """Empty the database; returns the exit status."""
    variables = read_variables(ENV_FILE)
    place = os.path.relpath(data, ROOT)
    if "DATABASE_URL" in variables:
        print(_OWN, file=sys.stderr)
        return os.EX_USAGE
    if not data.exists():
        print(f"There is no database in {place}. Next: make run, which makes one")
        return os.EX_OK
    if problem := _problem(data, place, confirmed=variables.get("CONFIRM") == "yes"):
        print(problem, file=sys.stderr)
        return os.EX_UNAVAILABLE
    print(f"The database in {place} is empty. Next: make run, or make migrate, which makes its tables")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
