"""Ends a start because of wrong settings: with a line for each fault, and exit code 78."""

import os
import sys


def config_error(*problems: str) -> SystemExit:
    """Write each problem to standard error, one per line.

    Returns:
        The exception to raise. Its code, `EX_CONFIG`, tells supervisors that another start would not help.
    """
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return SystemExit(os.EX_CONFIG)
