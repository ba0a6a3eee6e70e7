"""Starts the service in this process, as `gunicorn -c gunicorn.conf.py app.main:app` does.

gunicorn reads WEB_CONCURRENCY when it is imported, before any configuration file. It ends in a traceback if the value
is empty or not a number. So the settings are read before that import, and each wrong one gets a line.
"""

import gc

# Before all other imports, as in gunicorn.conf.py.
gc.disable()

import os
import signal
import sys

# Ctrl-C while the imports run is no error. gunicorn sets its own handler later.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from groundwork.observe.logging import log_uncaught
from groundwork.serve.settings import load_settings

ARGUMENTS = ["-c", "gunicorn.conf.py", "app.main:app"]


def main() -> None:
    # At SIGUSR2, gunicorn starts a new process with the arguments that it finds here.
    if sys.argv[1:] not in ([], ARGUMENTS):
        sys.stderr.write("serve.py takes no arguments: set environment variables, which .env.example lists\n")
        raise SystemExit(os.EX_USAGE)
    sys.argv[1:] = ARGUMENTS
    workers = load_settings().web_concurrency
    if "WEB_CONCURRENCY" in os.environ:
        os.environ["WEB_CONCURRENCY"] = str(workers)
    from gunicorn.app.wsgiapp import run  # noqa: PLC0415 - see above

    sys.excepthook = log_uncaught
    run("gunicorn")
