"""Who calls: what a peer's connection proves, what its requests say of who is behind it, and whom we let in. Pure.

A peer's gateway speaks for the workloads of its own trust domain, in `isthmus-source`; a workload that comes by itself
(HBONE) speaks for nobody else. Whatever else is said is not believed, and refused rather than left out: who sends it is
broken, or lies.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from discovery.model import Workload
from gateway.codec.events import Header
from gateway.codec.headers import SOURCE
from gateway.snapshot import ServiceResource
from trust.errors import TrustError
from trust.spiffe_id import SpiffeId, gateway_id, parse_spiffe_id, workload_id
from trust.spiffe_pattern import SpiffePattern, parse_pattern

# Values of `isthmus-source` remembered for each connection: as many callers as a cluster has, in general.
_REMEMBERED: Final = 1024
_PLACE: Final = r"[A-Za-z0-9._-]{0,63}"
# What `headers.source_value` writes, and nothing else: one form leaves nothing to interpret in two ways.
_VALUE: Final = re.compile(
    rf'cluster="([a-z0-9-]{{1,63}})", region="{_PLACE}", zone="{_PLACE}", identity="([^"\\]{{1,2048}})"'.encode()
)
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class SourceNotBelieved(Exception):
    """What a peer says of its caller is not for it to say. The message is for people."""


class NotAllowed(Exception):
    """The caller is known and not let in."""


class Caller:
    """The other end of one validated connection.

    Args:
        cluster: the peer.
        identity: what its certificate proved.
    """

    def __init__(self, cluster: str, identity: SpiffeId) -> None:
        self.cluster = cluster
        self.identity = identity
        self.is_gateway = identity == gateway_id(identity.trust_domain)
        self._believed: dict[bytes, SpiffeId] = {}
        self._allowed: dict[tuple[tuple[str, ...], SpiffeId], bool] = {}

    def source(self, headers: Sequence[Header], fields: Mapping[bytes, bytes]) -> SpiffeId:
        """Whom a request is from: what it says where it may say it, else the connection's own identity. Raises
        SourceNotBelieved. `fields`: the headers by name."""
        value = fields.get(SOURCE)
        if value is None:
            return self.identity
        if len(fields) != len(headers) and sum(name == SOURCE for name, _ in headers) > 1:
            raise SourceNotBelieved("isthmus-source comes more than once")
        believed = self._believed.get(value)
        if believed is None:
            believed = self._read(value)
            if len(self._believed) >= _REMEMBERED:
                self._believed.clear()
            self._believed[value] = believed
        return believed

    def _read(self, value: bytes) -> SpiffeId:
        if not self.is_gateway:
            raise SourceNotBelieved(f"{self.identity} is no gateway, and speaks for nobody else")
        found = _VALUE.fullmatch(value)
        if found is None:
            raise SourceNotBelieved("isthmus-source is not in the form that gateways write")
        cluster, text = found[1].decode(), found[2].decode("latin-1")
        if cluster != self.cluster:
            raise SourceNotBelieved(f"{self.cluster} speaks for another cluster")
        try:
            identity = parse_spiffe_id(text)
        except TrustError as error:
            raise SourceNotBelieved(str(error)) from None
        if identity.trust_domain != self.identity.trust_domain or not identity.path:
            raise SourceNotBelieved(f"{self.identity} does not speak for {text[:120]!a}")
        return identity

    def check(self, service: ServiceResource, identity: SpiffeId, *, connect: bool) -> None:
        """Whether `identity` may call a service that is exported to its cluster. Raises NotAllowed.

        `connect`: the request is a plain CONNECT, the only one that a workload makes by itself.
        """
        if not self.is_gateway and not (connect and service.allow):
            raise NotAllowed(f"{identity} may come by CONNECT only, and only where export.allow names it")
        if not service.allow:
            return
        key = (service.allow, identity)
        allowed = self._allowed.get(key)
        if allowed is None:
            allowed = any(pattern.matches(identity) for pattern in map(pattern_of, service.allow))
            if len(self._allowed) >= _REMEMBERED:
                self._allowed.clear()
            self._allowed[key] = allowed
        if not allowed:
            raise NotAllowed(f"{identity} is not among those that export.allow names")


@lru_cache(maxsize=4096)
def pattern_of(text: str) -> SpiffePattern:
    """A pattern of the snapshot, which the configuration's reader has checked."""
    return parse_pattern(text)


class AllowedWorkloads:
    """Whose certificates the mesh port lets in besides gateways': those that some service's `export.allow` names."""

    def __init__(self) -> None:
        self._patterns: Counter[str] = Counter()

    def changed(self, before: ServiceResource | None, after: ServiceResource | None) -> bool:
        """Follows a service. True if fewer are let in now."""
        lost = before.allow if before is not None else ()
        found = after.allow if after is not None else ()
        if lost == found:
            return False
        self._patterns.update(found)
        self._patterns.subtract(lost)
        gone = [text for text in lost if self._patterns[text] <= 0]
        for text in gone:
            del self._patterns[text]
        return bool(gone)

    def __contains__(self, identity: object) -> bool:
        return isinstance(identity, SpiffeId) and any(pattern_of(text).matches(identity) for text in self._patterns)


class WorkloadIdentities:
    """Which identity a local client has, by the address that it comes from: the narrowest network counts.

    >>> web = Workload(("127.0.0.0/8",), "web", "frontend")
    >>> str(WorkloadIdentities("east.test", [web]).of("127.0.0.5"))
    'spiffe://east.test/ns/web/sa/frontend'
    >>> str(WorkloadIdentities("east.test", [web]).of("10.0.0.1"))
    'spiffe://east.test/ns/isthmus-system/sa/isthmus-gateway'
    """

    def __init__(self, trust_domain: str, workloads: Sequence[Workload]) -> None:
        self._otherwise = gateway_id(trust_domain)
        by_network: list[tuple[Network, SpiffeId]] = [
            (ipaddress.ip_network(network), workload_id(trust_domain, workload.namespace, workload.service_account))
            for workload in workloads
            for network in workload.networks
        ]
        self._by_network = sorted(by_network, key=lambda entry: -entry[0].prefixlen)

    def of(self, host: str) -> SpiffeId:
        """`host` is an IP address as the system writes it; anything else is nobody in particular."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return self._otherwise
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return next((identity for network, identity in self._by_network if address in network), self._otherwise)
