"""Tells a sentence that says what to do from one that only says what is wrong."""

import re

# A verb counts where a sentence or a part of it begins. `use` in "users" or `name` in "has the name" does not.
ASKS = re.compile(
    r"(?:^|[:;,.]\s|\bor |\band |\bthen )"
    r"(add|ask|attach|call|choose|commit|connect|correct|declare|delete|deploy|derive|enter|expected|free|get|give"
    r"|import|install|join|leave|let|lower|make|mend|merge|move|name|pass|push|put|raise|remove|rename|restore|run"
    r"|say|select|send|separate|set|start|stop|take|try|use|wait|wrap|write)\b"
    r"|\bmust\b|\bneeds?\b|\bwrite\b|\buse\b|\bgive it\b",
    re.IGNORECASE | re.MULTILINE,
)
