"""The programs and files that the editor's settings name exist."""

import json
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_every_module_that_the_editor_starts_is_there() -> None:
    launched = json.loads((ROOT / ".vscode/launch.json").read_text())["configurations"]
    assert launched
    for each in launched:
        assert find_spec(each["module"]) is not None, each["module"]
