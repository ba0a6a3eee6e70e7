"""`.devcontainer/`: the container does not use what the host has installed, nor the host's database."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_environments_and_data_are_in_volumes() -> None:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    settings = json.loads(re.sub(r"^ *//.*", "", text, flags=re.MULTILINE))
    environments = re.findall(r"^(\.venv[\w-]*)/requirements", (ROOT / "Makefile").read_text(), re.MULTILINE)
    folders = {*environments, ".data"}
    assert {".venv", ".venv-load"} < folders
    assert {each["target"] for each in settings["mounts"]} == {
        f"${{containerWorkspaceFolder}}/{name}" for name in folders
    }
    assert {each["type"] for each in settings["mounts"]} == {"volume"}
    # Made by the host's user before the engine makes them as root, and given to the container's.
    assert {*settings["initializeCommand"].removeprefix("mkdir -p ").split()} == folders
    assert {*settings["postCreateCommand"].partition(" && ")[0].split()} >= folders
