"""`python healthcheck.py live` or `… ready`, inside the container: exits 0 when the service says so."""

import sys

from groundwork.serve.healthcheck import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
