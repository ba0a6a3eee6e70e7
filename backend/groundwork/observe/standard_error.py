"""Standard error that never makes a request wait: a line that cannot be written at once is lost, and counted.

A write to a full pipe blocks until somebody reads it; to a full disk or a closed pipe it fails. Neither may touch an
answer.
"""

import io
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from functools import partial

from groundwork.observe.metrics import LOG_LINES_LOST, counts

Write = Callable[[bytes], int]
"""Writes what can be written at once, and returns how many bytes that were; raises OSError where none can."""


class LossyStream(io.TextIOBase):
    """Text whose writes neither block nor fail. Of a line that was written in part, the rest comes before the next.

    A line of up to 4096 bytes (PIPE_BUF) is written to a pipe whole or not at all, whoever else writes to it (pipe(7)).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._write = _writer(fd)
        self._rest = b""
        # Else a forked process would write the same rest once more.
        os.register_at_fork(after_in_child=self._forget_rest)

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            if self._rest:
                raise BlockingIOError
            written = self._write(data)
        except OSError:
            counts.values[LOG_LINES_LOST] += data.count(b"\n")
        else:
            if written < len(data):
                self._rest = data[written:]
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def _forget_rest(self) -> None:
        self._rest = b""


def never_block() -> None:
    """Let everything that this process and its children write to `sys.stderr` be lost rather than wait."""
    if sys.stderr is None:
        # It was closed before the start (`2>&-`). Whatever writes to it expects a file.
        sys.stderr = LossyStream(os.open(os.devnull, os.O_WRONLY))
    elif not isinstance(sys.stderr, LossyStream):
        sys.stderr = LossyStream(sys.stderr.fileno())


def _writer(fd: int) -> Write:
    """How to write to this file without blocking. O_NONBLOCK on `fd` itself would hold for all who share it."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return partial(os.write, fd)
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # Another user's terminal, a pipe that nobody reads any more, or no Linux.
        return _polled(fd)
    return partial(os.write, own)


def _polled(fd: int) -> Write:
    """A pipe that is ready takes PIPE_BUF bytes without blocking, unless another process takes the room first."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def write(data: bytes) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(fd, data[: select.PIPE_BUF])

    return write
