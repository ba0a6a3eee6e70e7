"""How a start ends that a wrong setting stops: a line for each fault, and exit code 78."""

import os
import sys


def config_error(*problems: str) -> SystemExit:
    """Write each problem to standard error, a line each.

    Returns:
        what to raise. Its code is `EX_CONFIG`, which tells supervisors that another start would not help.
    """
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return SystemExit(os.EX_CONFIG)
