"""The records of the zones: what a service has at its names, and how names are compared. Pure."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable
from typing import TypeAlias

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdtypes.ANY.NS
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import msgspec
from dns.rdatatype import RdataType

from discovery.model import CLUSTERSET_ZONE, Port, ServiceName, is_dns_label

_IN = dns.rdataclass.IN
SRV = dns.rdtypes.IN.SRV.SRV
NS = dns.rdtypes.ANY.NS.NS
_SRV_PRIORITY = 0
_SRV_WEIGHT = 100
_NAME_BYTES = 255
_SRV_LABEL_MAX = 62
"""A label has 63 bytes, and the underscore of `_<port>` takes one."""

Key: TypeAlias = tuple[bytes, ...]
"""A name's labels in lower case, without the root: what names are compared by (RFC 4343)."""
Records: TypeAlias = dict[RdataType, tuple[dns.rdata.Rdata, ...]]


class ClusterShare(msgspec.Struct, frozen=True):
    """One cluster's share of a service: an address that leads to that cluster only."""

    cluster: str
    addresses: tuple[str, ...]


class ZoneService(msgspec.Struct, frozen=True):
    """A service as DNS shows it: the clusterset IPs (IPv4 and IPv6 as text, at least one) and what listens there."""

    name: ServiceName
    addresses: tuple[str, ...]
    ports: tuple[Port, ...]
    shares: tuple[ClusterShare, ...] = ()


class RecordSet(msgspec.Struct, frozen=True):
    """Records of one type at one name. `ttl_s` is seconds; `wires` is each record's data as it is sent."""

    owner: dns.name.Name
    rtype: RdataType
    ttl_s: int
    rdatas: tuple[dns.rdata.Rdata, ...]
    wires: tuple[bytes, ...]


def parents_of(service: ZoneService, federation_apex: Key) -> list[Key]:
    """What lies above each name that a service has addresses at. Its name in the clusterset is never too long."""
    namespace = _namespace_key(service.name.namespace)
    if not namespace or not is_dns_label(service.name.name):
        return []
    parents = [namespace]
    for share in service.shares:
        parent = (*key_of(f"{service.name.namespace}.svc.{share.cluster}"), *federation_apex)
        if is_dns_label(share.cluster) and fits((service.name.name.encode(), *parent)):
            parents.append(parent)
    return parents


@functools.lru_cache(maxsize=1_024)
def _namespace_key(namespace: str) -> Key:
    """Where the services of a namespace lie in the clusterset; empty if there can be none."""
    return key_of(f"{namespace}.svc.{CLUSTERSET_ZONE}") if is_dns_label(namespace) else ()


def fits(owner: Key) -> bool:
    """Whether it is short enough for a name (RFC 1035 section 2.3.4): each label and the root have a length byte."""
    return sum(map(len, owner)) + len(owner) + 1 <= _NAME_BYTES


def named_ports(service: ZoneService) -> list[Port]:
    return [port for port in service.ports if is_dns_label(port.name) and len(port.name) <= _SRV_LABEL_MAX]


def service_records(key: Key, owner: Key, service: ZoneService, addresses: Iterable[str]) -> Records:
    """The records at `key`, which is the service's own name `owner` or below it; empty where there are none.

    The specification asks for SRV at `_<port>._<protocol>.` only, and leaves the service's own name open. There we
    answer with the ports of all names, as CoreDNS does for Kubernetes: it is what people type into dig. Every protocol
    of ours is carried by TCP.
    """
    target, named = name_of(owner), named_ports(service)
    below = key[: len(key) - len(owner)]
    if not below:
        records = address_records(addresses)
        if named:
            records[RdataType.SRV] = tuple(_srv(port, target) for port in named)
        return records
    if len(below) == 2 and below[1] == b"_tcp" and sum(map(len, key)) + len(key) + 1 <= _NAME_BYTES:
        asked = tuple(_srv(port, target) for port in named if below[0] == b"_" + port.name.encode())
        return {RdataType.SRV: asked[-1:]} if asked else {}
    return {}


def _srv(port: Port, target: dns.name.Name) -> dns.rdata.Rdata:
    return make_rdata(SRV, RdataType.SRV, _SRV_PRIORITY, _SRV_WEIGHT, port.port, target)


def address_records(addresses: Iterable[str]) -> Records:
    records: Records = {}
    for text in addresses:
        if ipaddress.ip_address(text).version == 4:
            rdata = make_rdata(dns.rdtypes.IN.A.A, RdataType.A, text)
        else:
            rdata = make_rdata(dns.rdtypes.IN.AAAA.AAAA, RdataType.AAAA, text)
        records[rdata.rdtype] = (*records.get(rdata.rdtype, ()), rdata)
    return records


def record_set(owner: dns.name.Name, rtype: RdataType, ttl_s: int, rdatas: tuple[dns.rdata.Rdata, ...]) -> RecordSet:
    # Without a file, to_wire returns the bytes; its type says that it might not.
    return RecordSet(owner, rtype, ttl_s, rdatas, tuple(rdata.to_wire() or b"" for rdata in rdatas))


def make_rdata(kind: Callable[..., dns.rdata.Rdata], rtype: RdataType, *fields: object) -> dns.rdata.Rdata:
    return kind(_IN, rtype, *fields)


def key_of(name: str) -> Key:
    return tuple(name.lower().encode().split(b"."))


def labels_of(name: dns.name.Name) -> Key:
    return tuple(label.lower() for label in name.labels if label)


def name_of(key: Key) -> dns.name.Name:
    return dns.name.Name((*key, b""))
