"""How many files, sockets among them, a process may have open."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> None:
    """Lifts this process's limit, and that of those it starts, to what the system allows it.

    Each connection and each virtual IP needs a descriptor, in the controller and in every worker. The usual soft limit
    of 1024 is there for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
