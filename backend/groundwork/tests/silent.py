"""A server that takes connections and answers nothing, like a PostgreSQL whose processes are suspended."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit


def listener(stack: ExitStack, address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A listening socket. Its connections wait in the kernel until the stack is closed."""
    silent = stack.enter_context(socket.socket())
    silent.bind((address, port))
    silent.listen(100)
    return silent


def with_first(url: str, host: str) -> str:
    """The URL with another host before its own."""
    user, _, own = urlsplit(url).netloc.rpartition("@")
    return urlsplit(url)._replace(netloc=f"{user}@{host},{own}").geturl()
