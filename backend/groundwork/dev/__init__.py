"""Tools for development and tests; nothing here runs in production."""

import os
import sys

# Here, because every command imports this module first, and its next imports do not exist on Windows.
if os.name == "nt":
    sys.exit("Windows is supported through WSL 2: run the command in a Linux distribution there.")
