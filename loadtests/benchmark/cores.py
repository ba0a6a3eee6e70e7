"""Which process runs on which core."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groundwork.dev.children import end_with_parent

ALL = frozenset(os.sched_getaffinity(0))
# If the machine has two cores or more, a server of one worker gets one, and the load generator gets another.
SERVER = frozenset([min(ALL)])
CLIENT = frozenset([max(ALL)])


def child_on(cores: frozenset[int]) -> Callable[[], None]:
    """A function for a child process to call first: the child stays on these cores, and ends when this process ends."""
    end_with_us = end_with_parent()

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        if end_with_us:
            end_with_us()

    return prepare


@contextmanager
def staying_on(cores: frozenset[int]) -> Iterator[None]:
    """This process stays on these cores during the block."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL)
