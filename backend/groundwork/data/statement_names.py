"""The names of statements in metrics and in the log: `tasks.list` for `_LIST = Statement(…)` in a module `tasks`."""

import dis
import sys
from types import CodeType, FrameType
from typing import NamedTuple

from groundwork.observe.metrics import cut

_NAME_BYTES = 200
# Functions in these packages make statements for other modules, which give the name. A statement that is made at import
# is named after its own module.
_MAKERS = ("groundwork.data.", "groundwork.jobs.")


class Origin(NamedTuple):
    """The call that has made a statement."""

    module: str
    code: CodeType
    offset: int

    def variable(self) -> str:
        """The variable that the statement is assigned to, or else the function that has made it."""
        stored = (
            each.argval
            for each in dis.get_instructions(self.code)
            if each.offset > self.offset and each.opname in ("STORE_NAME", "STORE_GLOBAL")
        )
        return next(stored, self.code.co_name)

    def name(self) -> str:
        """The last part of the module's name, and the variable."""
        variable = self.variable().strip("_").lower()
        return cut(f"{self.module.rpartition('.')[2]}.{variable}", _NAME_BYTES)


def origin() -> Origin:
    """The origin of a statement that is being made. To find its name takes a millisecond, so that is done on demand."""
    frame = sys._getframe()
    while frame.f_back and _makes_for_others(frame):
        frame = frame.f_back
    return Origin(frame.f_globals.get("__name__", ""), frame.f_code, frame.f_lasti)


def _makes_for_others(frame: FrameType) -> bool:
    module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
    # A comprehension is a function of its own before Python 3.12.
    return function != "<module>" and (module.startswith(_MAKERS) or function.startswith("<"))
