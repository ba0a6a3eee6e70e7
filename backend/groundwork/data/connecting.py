"""Which of several addresses answers: the next is tried beside one that is silent, not after it."""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from asyncpg import Connection

from groundwork.data.failures import is_transient

Attempt = Callable[[], Awaitable[Connection]]

# RFC 8305, section 5, has 0.25 s for a bare TCP connection; here TLS and the sign-in are part of an attempt.
_STAGGER_SECONDS = 0.5


async def first_connection(attempts: Sequence[Attempt], *, within_seconds: float) -> Connection:
    """The first connection that an attempt opens. The others are given up.

    Each attempt begins when the one before it has failed, or has been silent for a moment. Where there is little time,
    the moment is so short that half of the time is left for the last one.

    Raises:
        Exception: what the last attempt failed with, or what would not pass with another address.
    """
    stagger_seconds = min(_STAGGER_SECONDS, within_seconds / (2 * len(attempts)))
    waiting = deque(attempts)
    running: set[asyncio.Task[Connection]] = set()
    try:
        while True:
            if waiting:
                running.add(asyncio.create_task(_run(waiting.popleft())))
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


async def _run(attempt: Attempt) -> Connection:
    return await attempt()


def _close_result(task: asyncio.Task[Connection]) -> None:
    """An attempt can succeed in the moment in which it is given up."""
    if not task.cancelled() and not task.exception():
        task.result().terminate()


async def addresses(host: str, port: int) -> list[str]:
    """The IP addresses of a name, in the system's order of preference.

    Raises:
        OSError: the name is not known, or nobody can be asked.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_ip_address(address) for *_, address in found))


def _ip_address(address: tuple[object, ...]) -> str:
    # A link-local IPv6 address is one only with the number of its network interface.
    ip, _, *rest = address
    scope = rest[-1] if rest else 0
    return f"{ip}%{scope}" if scope else str(ip)
