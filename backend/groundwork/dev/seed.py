"""`make seed`: adds the example data of `app/seed.py` for a user."""

import asyncio
import os
import sys
from importlib import import_module
from importlib.util import find_spec

from groundwork.dev import progress
from groundwork.dev.opened import opened
from groundwork.dev.schema import why_not
from groundwork.errors import Unavailable

_MOST = 100_000
_PORTION = 200
_NOTHING = """\
There is no backend/app/seed.py. Write one with this function, which adds rows by the service's own code:
async def seed(database: Database, user_id: str, count: int) -> None: …"""


async def seeded(user_id: str, count: int) -> str | None:
    """Run the service's `seed`, in portions, so that a long run shows how far it is.

    Returns: why it cannot, as a sentence; None if the data is there.
    """
    seed = import_module("app.seed").seed
    async with opened() as database:
        if problem := await why_not(database, "make seed"):
            return problem
        for begun in range(0, count, _PORTION):
            progress.show(f"  {begun:,} of {count:,} of each kind …" if begun else "")
            await seed(database, user_id, min(_PORTION, count - begun))
        progress.show("")
    return None


def main() -> int:
    """Add the data for USER_ID, N of each kind."""
    if find_spec("app.seed") is None:
        print(_NOTHING, file=sys.stderr)
        return os.EX_USAGE
    user_id, number = os.environ.get("USER_ID") or "alice", os.environ.get("N") or "50"
    if not number.isdecimal() or not 0 < int(number) <= _MOST:
        print(f"N must be a number from 1 to {_MOST}, and is {number}: make seed N=50", file=sys.stderr)
        return os.EX_USAGE
    try:
        problem = asyncio.run(seeded(user_id, int(number)))
    except Unavailable as error:
        problem = f"The database does not answer any more: {error.__cause__ or error}. What was added before stays."
    if problem:
        print(problem, file=sys.stderr)
        return os.EX_UNAVAILABLE
    print(f"{number} of each kind were added for {user_id}. Next: make run, then curl 127.0.0.1:8000/api/{user_id}/…")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
