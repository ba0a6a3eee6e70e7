"""gunicorn that becomes its own worker instead of forking one: Valgrind takes no commands after a fork.

`python -m loadtests.benchmark.alone` takes gunicorn's arguments.
"""

import gc
import os
import sys

from gunicorn.app.wsgiapp import run

if __name__ == "__main__":
    os.fork = lambda: 0
    # The worker ends when its parent is no longer the process that it was forked from.
    os.getppid = os.getpid
    # The service begins without the collector of cycles, and would switch it on here. It runs once in thousands of
    # requests, so the operation in whose few hundred it fell would look expensive.
    gc.enable = lambda: None
    sys.exit(run())
