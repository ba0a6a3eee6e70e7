"""gunicorn that becomes its own worker instead of forking one: Valgrind takes no commands after a fork.

`python -m loadtests.benchmark.alone` takes gunicorn's arguments.
"""

import gc
import os
import sys

from gunicorn.app.wsgiapp import run

if __name__ == "__main__":
    os.fork = lambda: 0
    # A worker ends when its parent has changed. This one is its own parent.
    os.getppid = os.getpid
    # The service starts without the garbage collector, and would switch it on here. It runs once in thousands of
    # requests. Each operation gets only a few hundred, so one of them would look expensive by chance.
    gc.enable = lambda: None
    sys.exit(run())
