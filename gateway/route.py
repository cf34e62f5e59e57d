"""Where a request comes from, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from discovery.model import Port
from gateway.callers import Caller
from gateway.snapshot import ServiceResource


@dataclass(init=False)
class Origin:
    """Who sent a request: a local workload (no peer), or a validated peer gateway."""

    peer: str
    """The peer's cluster name; empty for local workloads."""
    fixed: tuple[str, str] | None
    """A virtual IP's listener: the service's key and port name that all its connections are for."""
    caller: Caller | None
    """What a peer's connection proved. Without it nobody is let in where callers are named."""
    host: str
    """The IP address of a local workload."""

    def __init__(
        self, peer: str = "", fixed: tuple[str, str] | None = None, caller: Caller | None = None, host: str = ""
    ) -> None:
        self.peer = peer
        self.fixed = fixed
        self.caller = caller
        self.host = host


LOCAL_ORIGIN: Final = Origin()


@dataclass(init=False)
class Route:
    """Where a request goes: a service and one of its ports."""

    service: ServiceResource
    port: Port
    authority: bytes
    """The canonical `<fqdn>:<port>`, which crosses to a peer."""
    label: str
    """`<namespace>/<name>`, for metrics."""

    def __init__(self, service: ServiceResource, port: Port, authority: bytes, label: str) -> None:
        self.service = service
        self.port = port
        self.authority = authority
        self.label = label
