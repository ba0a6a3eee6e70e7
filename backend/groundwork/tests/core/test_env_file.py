"""A broken `.env` is reported in one line, which names the place and shows no value."""

import os
from pathlib import Path

import pytest

from groundwork.serve import settings
from groundwork.serve.env_file import read_env_file


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PORT=8001\nhunter2 and more\n", "line 2 cannot be read; expected NAME=value"),
        (b'PORT="8001\nPASSWORD=hunter2\n', "line 1 cannot be read; expected NAME=value, and quotes in pairs"),
        (b"PASSWORD=hunter2\xff\n", "is not UTF-8 text"),
    ],
)
def test_a_broken_file_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, sentence: str
) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        read_env_file(file)
    assert stop.value.code == os.EX_CONFIG
    said = capsys.readouterr().err
    assert said.startswith(f".env: {sentence}")
    assert said.count("\n") == 1
    assert "hunter2" not in said


def test_a_folder_in_its_place_stops_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_env_file(tmp_path)
    assert "cannot be read: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "# nothing\n\nexport PORT=8001\nTEXT='two\nlines'\nEMPTY=\nNAME\n"])
def test_a_whole_file_is_fine_and_so_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / ".env"
    read_env_file(file)
    file.write_text(content)
    read_env_file(file)


@pytest.mark.parametrize("folder", [".", "backend"])
def test_it_is_found_in_the_repositorys_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / "backend").mkdir()
    monkeypatch.chdir(tmp_path / folder)
    assert settings._env_file() == tmp_path / ".env"
