"""Measures how much of the answers on a connection the client has not read yet.

The transport's buffer alone does not tell this, because the kernel takes up to 4 MB of an answer from it
(`net.ipv4.tcp_wmem`) before the client reads anything.
"""

import asyncio
import fcntl
import socket
import sys
import termios
from contextlib import suppress
from typing import NamedTuple

# How much unsent data of an answer the kernel may hold (tcp(7)). The rest stays in this process, where it is counted.
# The kernel's buffers also take memory of the container.
_KERNEL_BYTES = 128 * 1024
_NOT_SENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_TCP_INFO = getattr(socket, "TCP_INFO", None)
# tcpi_bytes_acked in linux/tcp.h's struct tcp_info: 8 bytes, 24 numbers of 4 bytes and 2 of 8 bytes stand before it.
_BYTES_ACKED_OFFSET = 120


class SendProgress(NamedTuple):
    """How much of the answers a client has read. Two values are equal only if it read nothing in between."""

    waiting_bytes: int
    """Bytes in the transport and in the kernel that the client has not acknowledged."""
    taken_bytes: int
    """Bytes that the client has acknowledged since the connection began; 0 if the system does not tell."""


def limit_kernel_buffer(transport: asyncio.BaseTransport) -> None:
    """Let the kernel take no more of an answer than it can soon send."""
    connection = transport.get_extra_info("socket")
    if _NOT_SENT_LOWAT is not None and connection is not None:
        with suppress(OSError):  # not a TCP socket
            connection.setsockopt(socket.IPPROTO_TCP, _NOT_SENT_LOWAT, _KERNEL_BYTES)


def send_progress(transport: asyncio.Transport) -> SendProgress:
    """Measure the client's progress, with two system calls."""
    connection = transport.get_extra_info("socket")
    waiting, taken = transport.get_write_buffer_size(), 0
    if connection is not None:
        with suppress(OSError):  # closed, or not known to this system
            waiting += int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
            taken = _taken(connection)
    return SendProgress(waiting, taken)


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the client has reset the connection. The event loop does not watch for it once the client sends no more.

    Asking clears the error, so a reset connection must be closed.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # closed already
            return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    return False


def _taken(connection: socket.socket) -> int:
    if _TCP_INFO is None:
        return 0
    info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED_OFFSET + 8)
    # An old kernel's struct is shorter.
    return int.from_bytes(info[_BYTES_ACKED_OFFSET:], sys.byteorder) if len(info) == _BYTES_ACKED_OFFSET + 8 else 0
