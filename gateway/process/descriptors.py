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


def vip_listener_limit() -> int:
    """How many virtual IPs' listening sockets a gateway opens: half of the files that a process may have open. The
    other half is for connections, so that names without number in the federation never keep a worker from accepting."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft // 2
