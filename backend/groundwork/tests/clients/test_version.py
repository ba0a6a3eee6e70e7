"""The version of the clients, and the messages of `make clients`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from groundwork.dev import build_clients
from groundwork.dev.client_version import RECORD, bumped, digest, render, require_current
from groundwork.dev.names import Names
from groundwork.dev.repository import TemplateError

ROOT = Path(__file__).parents[4]


def document() -> dict[str, Any]:
    return dict(json.loads((ROOT / build_clients.DOCUMENT).read_text()))


def test_the_version_is_that_of_the_committed_document() -> None:
    require_current((ROOT / RECORD).read_text(), document())


def test_a_changed_document_needs_another_version() -> None:
    changed = document() | {"paths": {}}
    with pytest.raises(AssertionError, match="Run `make clients`, which raises it"):
        require_current(render("0.1.0", document()), changed)


def test_a_new_name_of_the_service_is_no_change() -> None:
    assert digest(document() | {"info": {"title": "Acme Orders"}}) == digest(document())


def test_make_openapi_raises_only_the_version() -> None:
    """A document that is committed with its version is left as it is, and nothing is built."""
    before = (ROOT / RECORD).read_text()
    build_clients.build(["version"])
    assert (ROOT / RECORD).read_text() == before


@pytest.mark.parametrize(("breaking", "version"), [(True, "0.2.0"), (False, "0.1.4")])
def test_what_breaks_clients_raises_the_minor_version(breaking: bool, version: str) -> None:
    assert bumped("0.1.3", breaking=breaking) == version


def test_a_build_raises_the_version_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_clients, "ROOT", tmp_path)
    assert build_clients.current_version(document()) == "0.1.0"
    assert build_clients.current_version(document()) == "0.1.0"
    changed = document() | {"paths": {}}
    # The folder is not a repository, so the earlier document is not known, and the change may break clients.
    assert build_clients.current_version(changed) == "0.2.0"
    assert build_clients.current_version(changed) == "0.2.0"
    said = capsys.readouterr().out
    assert said.count("The document has changed") == 1
    assert "0.2.0 now, a new minor version because the document before was not committed" in said


@pytest.mark.parametrize(
    ("more", "version", "reason"),
    [
        (None, "0.2.0", "a new minor version because something that clients use was removed or changed."),
        (
            {"/new": {"get": {"responses": {}}}},
            "0.1.1",
            "a new patch version because it only adds, and earlier clients go on working.",
        ),
    ],
)
def test_a_raised_version_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: dict[str, Any] | None,
    version: str,
    reason: str,
) -> None:
    monkeypatch.setattr(build_clients, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "backend"))
    file = tmp_path / build_clients.DOCUMENT
    file.parent.mkdir()
    file.write_text(json.dumps(document()))
    for command in (["init"], ["add", "--all"], ["commit", "-m", "Ours"]):
        people = [part for name in ("name", "email") for part in ("-c", f"user.{name}=test@example.com")]
        subprocess.run(["git", *people, *command], cwd=tmp_path, check=True, capture_output=True)
    build_clients.current_version(document())
    changed = document() | {"paths": document()["paths"] | more if more else {}}
    file.write_text(json.dumps(changed))
    assert build_clients.current_version(changed) == version
    assert f"the clients' version is {version} now, {reason}" in capsys.readouterr().out


DOCUMENTS: dict[str, Any] = {
    "committed": {"paths": {"/a": {"get": {"responses": {"200": {"description": "A."}}}}}},
    "with more": {"paths": {"/a": {"get": {"responses": {"200": {"description": "A, and more."}}}}}},
    "with other words": {"paths": {"/a": {"get": {"responses": {"200": {"description": "A, and much more."}}}}}},
    "without it": {"paths": {}},
}


class Copy:
    """A repository with a committed document and its version, 0.1.1."""

    def __init__(self, root: Path) -> None:
        (root / "backend").mkdir()
        (root / "clients").mkdir()
        self.record, self._document = root / RECORD, root / build_clients.DOCUMENT
        # In the form of an older tool, to see that a change that is taken back restores each byte.
        self.record.write_text(render("0.1.1", DOCUMENTS["committed"]).replace("\n", "\n\n"))
        self._document.write_text(json.dumps(DOCUMENTS["committed"]))
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        for command in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message=First"]):
            subprocess.run(["git", *command], cwd=root, check=True)

    def version(self, name: str) -> str:
        """The version after `make openapi` has written this document."""
        self._document.write_text(json.dumps(DOCUMENTS[name]))
        version = build_clients.current_version(DOCUMENTS[name])
        require_current(self.record.read_text(), DOCUMENTS[name])
        assert json.loads(self.record.read_text())["version"] == version
        return version


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.setattr(build_clients, "ROOT", tmp_path)
    # The comparing program is run in the folder of the copy, which has no library.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "backend"))
    return Copy(tmp_path)


def test_a_change_in_several_steps_raises_the_version_once(copy: Copy) -> None:
    assert copy.version("with more") == "0.1.2"
    assert copy.version("with more") == "0.1.2"
    assert copy.version("with other words") == "0.1.2"
    assert copy.version("without it") == "0.2.0"
    assert copy.version("without it") == "0.2.0"
    assert copy.version("with more") == "0.1.2", "what is committed breaks no client any more"


def test_a_change_that_is_taken_back_restores_the_record(copy: Copy) -> None:
    before = copy.record.read_bytes()
    assert copy.version("without it") == "0.2.0"
    assert copy.version("with more") == "0.1.2"
    assert copy.version("committed") == "0.1.1"
    assert copy.record.read_bytes() == before


def test_a_major_version_is_set_by_hand(copy: Copy) -> None:
    copy.record.write_text(render("1.0.0", DOCUMENTS["committed"]))
    assert copy.version("committed") == "1.0.0"
    assert copy.version("without it") == "1.0.0"
    assert copy.version("committed") == "1.0.0"


def test_a_version_that_fits_its_document_is_kept(copy: Copy) -> None:
    """As after `make init EXAMPLE=remove`, before the first commit."""
    copy.record.write_text(render("0.1.1", DOCUMENTS["without it"]))
    assert copy.version("without it") == "0.1.1"


def test_without_npm_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TemplateError, match=r"there is no npm.*make clients LANGUAGES=python"):
        build_clients.build_typescript(Names.of("Tasks API"), "1.2.3", tmp_path)
