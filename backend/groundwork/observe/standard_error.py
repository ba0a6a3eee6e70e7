"""Standard error that never blocks: a line that cannot be written at once is dropped and counted.

A write to a full pipe blocks until a reader makes room, and a write to a full disk or a closed pipe fails. Neither may
delay or break a request.
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
"""Writes without blocking. Returns the number of bytes written; raises OSError if none can be."""


class LossyStream(io.TextIOBase):
    """A text stream whose writes neither block nor fail.

    If only part of a line can be written, the rest is written before the next line. A line of up to 4096 bytes
    (PIPE_BUF) is written to a pipe as a whole or not at all, even if other processes write to it too (pipe(7)).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._write = _writer(fd)
        self._rest = b""
        # Otherwise a forked process would write the same rest again.
        os.register_at_fork(after_in_child=self._forget_rest)

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        try:
            if self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            if self._rest:
                raise BlockingIOError
            self._rest = data[self._write(data) :]
        except OSError:
            counts.values[LOG_LINES_LOST] += data.count(b"\n")
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
    """Make `sys.stderr` of this process and its children drop lines instead of blocking."""
    if sys.stderr is None:
        # The program was started with standard error closed (`2>&-`), but code that writes to it expects a file.
        sys.stderr = LossyStream(os.open(os.devnull, os.O_WRONLY))
    elif not isinstance(sys.stderr, LossyStream):
        sys.stderr = LossyStream(sys.stderr.fileno())


def _writer(fd: int) -> Write:
    """A function that writes to this file without blocking.

    It does not set O_NONBLOCK on `fd` itself, which would apply to every process that shares the file.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return partial(os.write, fd)
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # The terminal of another user, a pipe without a reader, or a system other than Linux.
        return _when_ready(fd)
    return partial(os.write, own)


def _when_ready(fd: int) -> Write:
    """A function that writes up to PIPE_BUF bytes if the pipe is ready.

    It can still block if another process fills the pipe between the check and the write.
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)

    def write(data: bytes) -> int:
        if not poll.poll(0):
            raise BlockingIOError
        return os.write(fd, data[: select.PIPE_BUF])

    return write
