"""The check for private names of dependencies finds each use of one, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.dev import private_names

PLANTED = {
    "import of a private module": ("from fastapi._compat import is_scalar_field", "fastapi._compat.is_scalar_field"),
    "import of a private package": ("import fastapi._compat", "fastapi._compat"),
    "import of a private name": (
        "from fastapi.routing import _extract_endpoint_context as context",
        "fastapi.routing._extract_endpoint_context",
    ),
    "import in a function": ("def f():\n    from starlette import _utils", "starlette._utils"),
    "attribute": ("def f(request):\n    return request._body", "_body"),
    "attribute of a call's result": ("def f(router):\n    return router()._routes_version", "_routes_version"),
    "assignment": ("def f(request):\n    request._body = b''", "_body"),
    "name in a text": ("def f(request):\n    return getattr(request, '_body', None)", "_body"),
    "overridden method": (
        "import asyncpg\nclass C(asyncpg.Connection):\n    def _get_unique_id(self, prefix): return prefix",
        "_get_unique_id",
    ),
    "overridden in a class between": (
        "import asyncpg as a\nclass B(a.Connection): pass\nclass C(B):\n    def _get_unique_id(self, p): return p",
        "_get_unique_id",
    ),
    "inherited attribute": (
        "from starlette.requests import Request\nclass C(Request):\n    def f(self): return self._body",
        "_body",
    ),
    "inherited method by super()": (
        "from starlette.requests import Request\nclass C(Request):\n    def _f(self): return super()._f()",
        "_f",
    ),
}


def found(root: Path, source: str) -> list[str]:
    (root / "app").mkdir(exist_ok=True)
    (root / "app/planted.py").write_text(source)
    return [use.name for use in private_names.refused(private_names.find(root))]


@pytest.mark.parametrize("case", PLANTED)
def test_a_private_name_is_found(tmp_path: Path, case: str) -> None:
    source, name = PLANTED[case]
    assert found(tmp_path, source) == [name]


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations",
        "from app.other import _own",
        "class C:\n    def __init__(self): self._a = 1\n    def f(self, other): return self._a + other._a",
        "class C:\n    @classmethod\n    def _make_one(cls): return cls()\ndef f(): return C._make_one()",
        "def f(row): return row._asdict(), row._mapping, row._replace(a=1)",
        "import asyncpg\nclass C(asyncpg.Connection):\n    def _own_name(self): return self._own_name()",
        "_ = 1\ndef f(x): return x.__dict__, getattr(x, 'name')",
    ],
)
def test_own_names_and_documented_ones_pass(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source) == []


def test_what_a_class_inherits_from_another_file_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/base.py").write_text("class Base:\n    def __init__(self): self._kept = 1")
    assert found(tmp_path, "from app.base import Base\nclass C(Base):\n    def f(self): return self._kept") == []


@pytest.mark.parametrize("place", private_names.ALLOWED)
def test_the_allowed_places_may_use_them(tmp_path: Path, place: str) -> None:
    file = tmp_path / (place if place.endswith(".py") else f"{place}/planted.py")
    file.parent.mkdir(parents=True)
    file.write_text("def f(request): return request._body")
    uses = private_names.find(tmp_path)
    assert [use.name for use in uses] == ["_body"]
    assert private_names.refused(uses) == []


def test_an_exception_is_for_one_name_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "groundwork/data/target.py"
    file.parent.mkdir(parents=True)
    file.write_text("def f(connection): return connection._transport, connection._protocol")
    uses = private_names.find(tmp_path)
    assert [use.name for use in private_names.refused(uses)] == ["_protocol"]
    assert ("groundwork/data/target.py", "_transport") not in private_names.unused_exceptions(uses)
    assert ("groundwork/observe/tracing.py", "_root") in private_names.unused_exceptions(uses)


def test_this_repository_passes(backend_directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "groundwork.dev.private_names"],
        cwd=backend_directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_program_names_the_place_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(tmp_path, "def f(request): return request._body")
    tracing = tmp_path / "groundwork/observe/tracing.py"
    tracing.parent.mkdir(parents=True)
    tracing.touch()
    monkeypatch.setattr(private_names, "BACKEND", tmp_path)
    with pytest.raises(SystemExit) as ended:
        private_names.main()
    assert "app/planted.py:1: _body: a private name of a dependency\n" in str(ended.value)
    assert "Use a public name instead." in str(ended.value)
    assert "groundwork/observe/tracing.py does not use _root: remove it" in str(ended.value)
