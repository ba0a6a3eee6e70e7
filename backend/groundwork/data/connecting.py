"""Finds out which of several addresses answers. While one is silent, the next is tried beside it."""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from asyncpg import Connection

from groundwork.data.failures import is_transient

Attempt = Callable[[], Awaitable[Connection]]

# RFC 8305, section 5, recommends 0.25 s for a bare TCP connection. Here an attempt includes TLS and authentication.
_STAGGER_SECONDS = 0.5


async def first_connection(attempts: Sequence[Attempt], *, within_seconds: float) -> Connection:
    """The first connection that one of the attempts opens. The other attempts are given up.

    Each attempt begins when the one before it has failed, or has not answered for half a second. When there is little
    time, attempts follow each other faster, so that half of the time is left for the last one.

    Args:
        attempts: each opens a connection to one address, in order of preference.
        within_seconds: how much time there is. The caller enforces it; this function only plans with it.

    Raises:
        Exception: the error of the last attempt. An error that no other address would avoid is raised at once.
    """
    stagger_seconds = min(_STAGGER_SECONDS, within_seconds / (2 * len(attempts)))
    waiting = deque(attempts)
    running: set[asyncio.Task[Connection]] = set()
    try:
        while True:
            if waiting:
                running.add(asyncio.ensure_future(waiting.popleft()()))
            timeout = stagger_seconds if waiting else None
            await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not (isinstance(error, Exception) and is_transient(error) and (waiting or running)):
                    raise error
    finally:
        for task in running:
            task.add_done_callback(_close_result)
            task.cancel()


def _close_result(task: asyncio.Task[Connection]) -> None:
    """Close the connection of an attempt that succeeded at the moment when it was given up."""
    if not task.cancelled() and not task.exception():
        task.result().terminate()


async def addresses(host: str, port: int) -> list[str]:
    """The IP addresses of a host name, in the system's order of preference.

    Raises:
        OSError: the name is unknown, or no name server answers.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_ip_address(address) for *_, address in found))


def _ip_address(address: tuple[object, ...]) -> str:
    # A link-local IPv6 address is usable only together with the number of its network interface.
    ip, _, *rest = address
    scope = rest[-1] if rest else 0
    return f"{ip}%{scope}" if scope else str(ip)
