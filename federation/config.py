"""This package's part of cluster.yaml: who we are, whom we believe, where the records are, what we take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, ValidationInfo

from discovery.address import parse_host_port
from discovery.config_values import (
    ClusterName,
    Fault,
    FilePath,
    Location,
    Place,
    ReachableAddress,
    Section,
    duration,
    refuse,
    show,
    text_of,
    text_that,
    whole_number,
)
from discovery.model import Locality
from federation.bundle_config import BundleSourceConfig
from federation.import_cap import DEFAULT_MAX_ENDPOINTS, DEFAULT_MAX_SERVICES, ImportLimits
from trust.errors import TrustError
from trust.fingerprint import parse_fingerprint
from trust.spiffe_id import parse_trust_domain

_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")
_PATTERN = re.compile(r"[-a-z0-9*]{1,63}/[-a-z0-9*]{1,63}")


def _trust_domain(value: Any) -> str:
    expected = "1 to 255 of a-z, 0-9, ., - and _, like east.acme.test"
    text = text_of(value, expected)
    try:
        return parse_trust_domain(text)
    except TrustError:
        raise refuse(f"{show(text)} is not a trust domain", expected) from None


_ROOT_FORM = "the fingerprint of the peer's root, as isthmus status prints it there"


def _root(value: Any, info: ValidationInfo) -> str:
    if value == "":
        if info.data.get("bundle_endpoint") is None:
            raise refuse("missing", _ROOT_FORM)
        return ""
    expected = "sha256: and 64 hex digits, as isthmus status prints it"
    text = text_of(value, expected)
    try:
        return parse_fingerprint(text)
    except TrustError:
        raise refuse(f"{show(text)} is not a root fingerprint", expected) from None


TrustDomain = Annotated[str, PlainValidator(_trust_domain)]
_Root = Annotated[str, PlainValidator(_root)]
_Prefix = Annotated[str, text_that(_PREFIX.fullmatch, "a key prefix", "a path without / at its end, like /isthmus")]
ServicePattern = Annotated[
    str,
    text_that(_PATTERN.fullmatch, "a service pattern", 'namespace/name, where * stands for any text, like "shop/*"'),
]
_Freshness = Annotated[float, duration("1s", "8760h")]


def _endpoint(value: Any) -> str:
    expected = "http:// or https:// with host and port, like https://etcd-1:2379"
    text = text_of(value, expected)
    # The value is not shown when it has a password in it.
    shown = "the URL" if "@" in text else show(text)
    if "@" in text:
        raise refuse(f"{shown} has a user in it", expected, "use etcd.username and etcd.password_file")
    try:
        parts = urlsplit(text)
        address = parse_host_port(parts.netloc)
    except ValueError as error:
        raise refuse(f"{shown} is not an etcd endpoint: it {error}", expected) from None
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise refuse(f"{shown} is not an etcd endpoint", expected)
    if address.port == 0 or address.is_wildcard:
        raise refuse(f"{shown} can't be reached", expected)
    return f"{parts.scheme}://{address}"


EtcdUrl = Annotated[str, PlainValidator(_endpoint)]


class ClusterConfig(Section):
    """This cluster. Region and zone are unknown when they are not given."""

    name: ClusterName = Field(description="this cluster's name, unique in the federation, like east")
    trust_domain: TrustDomain = Field(description="this cluster's SPIFFE trust domain, like east.acme.test")
    region: Place = ""
    zone: Place = ""

    @property
    def locality(self) -> Locality:
        return Locality(self.region, self.zone)


class EtcdSection(Section):
    """An etcd that holds records of the federation: ours, or the one in which a peer is read."""

    endpoints: tuple[EtcdUrl, ...] = Field(description='a list of URLs, like ["https://etcd-1:2379"]', min_length=1)
    prefix: _Prefix = "/isthmus"
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    username: str = Field(default="", min_length=1, description="a user name of this etcd, like east")
    password_file: FilePath | None = None

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
        together = (("username", "password_file"), ("cert_file", "key_file"))
        for one, other in (*together, *(pair[::-1] for pair in together)):
            if getattr(self, one) and not getattr(self, other):
                yield Fault((*at, one), f"{one} is given without {other}", f"{'.'.join(map(str, at))}.{other} as well")
        for index, url in enumerate(self.endpoints):
            yield from self._transport_faults(url, (*at, "endpoints", index))
            if url in self.endpoints[:index]:
                yield Fault((*at, "endpoints", index), f"{url} is listed twice", "each endpoint once")

    def _transport_faults(self, url: str, at: Location) -> Iterator[Fault]:
        scheme, address = url.split("://")
        if scheme == "https":
            return
        if self.username and not parse_host_port(address).is_loopback:
            yield Fault(at, f"the password would cross the network in clear to {url}", "https://")
        elif self.ca_file or self.cert_file:
            yield Fault(at, f"{url} does not use the TLS files that are given", "https://")


class PeerConfig(Section):
    """Another cluster that we believe, and the root certificate that we pinned for it when we joined."""

    trust_domain: TrustDomain = Field(description="the peer's SPIFFE trust domain, like west.acme.test")
    bundle_endpoint: BundleSourceConfig | None = None
    """For a peer outside the federation's etcd: where its bundle is followed. Nothing else of it is read."""
    root: _Root = Field(default="", validate_default=True, description=_ROOT_FORM)
    """Empty only for a peer whose bundle is followed."""
    etcd: EtcdSection | None = None
    """Where what it says is read; None: in our own."""
    gateways: tuple[ReachableAddress, ...] = ()
    """Where the gateways of such a peer are."""

    def faults(self, at: Location) -> Iterator[Fault]:
        """What does not fit together. `at` is where this section stands."""
        if self.etcd is not None:
            yield from self.etcd.faults((*at, "etcd"))
        if self.bundle_endpoint is not None:
            yield from self.bundle_endpoint.faults((*at, "bundle_endpoint"), self.trust_domain, self.root)
            if self.etcd is not None:
                message = "a peer whose bundle is followed by URL is read in no etcd"
                yield Fault((*at, "etcd"), message, "either etcd or bundle_endpoint")
            return
        if self.gateways:
            message = "a peer in etcd registers its gateways there"
            yield Fault((*at, "gateways"), message, "no such key, or a bundle_endpoint")


class ImportsConfig(Section):
    """What we take of what is exported to us: by default everything; with `from`, only what it names. Of each peer as
    many as the limits allow, the oldest exports first."""

    from_: dict[ClusterName, tuple[ServicePattern, ...]] | None = Field(default=None, alias="from")
    max_services: Annotated[int, whole_number(1, 1_000_000, "a number of services")] = DEFAULT_MAX_SERVICES
    max_endpoints: Annotated[int, whole_number(1, 100_000_000, "a number of endpoints")] = DEFAULT_MAX_ENDPOINTS

    @property
    def limits(self) -> ImportLimits:
        return ImportLimits(self.max_services, self.max_endpoints)


class FreshnessConfig(Section):
    """How long what a silent cluster said counts (DESIGN section 7)."""

    stale_after_s: _Freshness = Field(default=30.0, alias="stale_after")
    withdraw_after_s: _Freshness = Field(default=86_400.0, alias="withdraw_after")

    def faults(self, at: Location) -> Iterator[Fault]:
        if self.withdraw_after_s <= self.stale_after_s:
            message = "a silent cluster would be withdrawn before it is stale"
            yield Fault((*at, "withdraw_after"), message, "more than freshness.stale_after")


def peer_faults(own: ClusterConfig, peers: dict[str, PeerConfig], at: Location) -> Iterator[Fault]:
    """What is wrong between the peers, and between them and this cluster. `at` is where the peers stand."""
    owners = {own.trust_domain: "this cluster"}
    for name, peer in peers.items():
        if name == own.name:
            yield Fault((*at, name), "a cluster is not its own peer", "the names of other clusters")
        elif peer.trust_domain in owners:
            message = f"{peer.trust_domain} is the trust domain of {owners[peer.trust_domain]} too"
            yield Fault((*at, name, "trust_domain"), message, "a trust domain of its own for each cluster")
        owners.setdefault(peer.trust_domain, name)
        yield from peer.faults((*at, name))
