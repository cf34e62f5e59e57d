"""How seldom Python looks for garbage cycles in our processes.

A collection walks everything that a process knows, which in a large federation is millions of objects: hundreds of
milliseconds in which nothing else happens. Next to nothing of ours is in a cycle.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def tame_garbage_collector() -> None:
    """What is there now stays for good and is not looked at again; the rest is looked at seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def spare_what_is_there() -> None:
    """The catalog is here for good, and what changes later is little beside it: it is not looked at again. Nor is it
    now, as that would take as long as is to be spared."""
    gc.freeze()


@contextmanager
def nothing_is_garbage() -> Iterator[None]:
    """While a catalog is read from disk: all of it stays, and looking through it again and again finds nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
