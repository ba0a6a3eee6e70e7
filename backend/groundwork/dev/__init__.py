"""Tools for development and tests; nothing here runs in production."""

import os
import sys

# Here, because every command imports this first, and what the commands import next is not there on Windows.
if os.name == "nt":
    sys.exit("Windows is supported through WSL 2: run the command in a Linux distribution there.")
