"""`python worker.py` does the jobs of app/jobs.py. It also lists those that failed: groundwork/docs/jobs.md."""

import sys

from groundwork.jobs.run import main

if __name__ == "__main__":
    sys.exit(main("app.jobs", sys.argv[1:]))
