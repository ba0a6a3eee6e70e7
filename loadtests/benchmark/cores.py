"""Which process runs on which core."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groundwork.dev.children import end_with_parent

ALL = frozenset(os.sched_getaffinity(0))
# With two cores or more, a server of one worker has one for itself, and the load generator another.
SERVER = frozenset([min(ALL)])
CLIENT = frozenset([max(ALL)])


def child_on(cores: frozenset[int]) -> Callable[[], None]:
    """What a child calls before it runs: it stays on these cores, and ends when this process does."""
    end_with_us = end_with_parent()

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        if end_with_us:
            end_with_us()

    return prepare


@contextmanager
def staying_on(cores: frozenset[int]) -> Iterator[None]:
    """This process runs on these cores while the block does."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL)
