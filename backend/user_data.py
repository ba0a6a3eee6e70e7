"""`python user_data.py export USER` prints everything of a user, and `erase USER` removes it."""

import sys

import app.models  # noqa: F401 - so that every table is known
from groundwork.serve.user_data import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
