"""`python healthcheck.py live` or `… ready`, inside the container: exits 0 if the service is live or ready."""

import sys

from groundwork.serve.healthcheck import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
