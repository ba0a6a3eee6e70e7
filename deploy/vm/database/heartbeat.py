"""Runs in the container `heartbeat`: calls HEARTBEAT_URL once after each good dump.

The service behind the URL (healthchecks.io or another dead man's switch) tells somebody when a call does not come in
time. A call that fails is tried again every minute.
"""

import os
import sys
import time
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

# The backup writes this file after each good dump.
REPORT = Path(os.environ.get("DUMP_REPORT", "/backups/dump.prom"))
PAUSE_SECONDS = float(os.environ.get("PAUSE_SECONDS", "60"))
HOUR = 3600


def say(text: str) -> None:
    print(f"heartbeat: {text}", file=sys.stderr, flush=True)


def call(url: str) -> bool:
    try:
        with urlopen(url, timeout=10):
            say("HEARTBEAT_URL was called: there is a good dump")
            return True
    except (OSError, HTTPException, ValueError) as error:
        # The message leaves the URL out, because it is a secret.
        say(f"HEARTBEAT_URL cannot be called, and will be again in a minute: {type(error).__name__}: {error}")
        return False


def main() -> None:
    url = os.environ.get("HEARTBEAT_URL")
    if not url:
        sys.exit("heartbeat: HEARTBEAT_URL is not set: put it into .env, or take heartbeat out of COMPOSE_PROFILES")
    # A dump that was made more than an hour before this program started has been reported already.
    told = time.time() - HOUR
    while True:
        try:
            made = REPORT.stat().st_mtime
        except FileNotFoundError:
            made = 0
        except OSError as error:
            sys.exit(f"heartbeat: {REPORT} cannot be read: {error}. Let everybody enter its folder: chmod 755")
        if made > told and call(url):
            told = made
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
