"""`python expire.py`, once a day, by whatever schedules: removes the idempotency keys that have expired."""

import sys

from groundwork.serve.expire import main

if __name__ == "__main__":
    sys.exit(main())
