"""`python expire.py` removes the idempotency keys that have expired. Schedule it once a day."""

import sys

from groundwork.serve.expire import main

if __name__ == "__main__":
    sys.exit(main())
