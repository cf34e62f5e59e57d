"""What can go wrong in discovery, under one root."""

from __future__ import annotations


class DiscoveryError(Exception):
    """The root of this package's errors. `code` is bounded: it labels a metric. `str()` says what to do next."""

    code = "discovery"
