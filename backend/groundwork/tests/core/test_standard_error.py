import fcntl
import os
import sys
from collections.abc import Iterator

import pytest

from groundwork.observe.metrics import LOG_LINES_LOST, counts
from groundwork.observe.standard_error import LossyStream, never_block

_LONG = "x" * 20_000 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that holds 4096 bytes, whose reading end does not block."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_long_line_is_finished_before_the_next(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LossyStream(writer)
    received = b""
    for _ in range(10):
        stream.write(_LONG if not received else "next\n")
        received += os.read(reader, 1 << 20)
    assert received.decode().startswith(_LONG + "next\n")


def test_without_a_description_of_its_own_it_asks_for_room(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    reader, writer = pipe
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        stream = LossyStream(writer)
    before = counts.values[LOG_LINES_LOST]
    for _ in range(3):
        stream.write("x" * 4095 + "\n")
    assert counts.values[LOG_LINES_LOST] - before == 2
    assert len(os.read(reader, 1 << 20)) == 4096


def test_one_that_was_closed_before_the_start_takes_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    never_block()
    assert isinstance(sys.stderr, LossyStream)
    assert sys.stderr.write("line\n") == 5
    os.close(sys.stderr.fileno())
