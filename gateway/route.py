"""Where a request comes from, and where it goes."""

from __future__ import annotations

from typing import Final

import msgspec

from discovery.model import Port
from gateway.callers import Caller
from gateway.snapshot import ServiceResource


class Origin(msgspec.Struct, frozen=True):
    """Who sent a request: a local workload (no peer), or a validated peer gateway."""

    peer: str = ""
    """The peer's cluster name; empty for local workloads."""
    fixed: tuple[str, str] | None = None
    """A virtual IP's listener: the service's key and port name that all its connections are for."""
    caller: Caller | None = None
    """What a peer's connection proved. Without it nobody is let in where callers are named."""
    host: str = ""
    """The IP address of a local workload."""


LOCAL_ORIGIN: Final = Origin()


class Route(msgspec.Struct, frozen=True):
    """Where a request goes: a service and one of its ports."""

    service: ServiceResource
    port: Port
    authority: bytes
    """The canonical `<fqdn>:<port>`, which crosses to a peer."""
    label: str
    """`<namespace>/<name>`, for metrics."""
