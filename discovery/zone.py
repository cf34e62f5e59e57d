"""The clusterset as DNS sees it: which names exist, and what is at each of them.

Two zones are ours. `clusterset.local` holds what Kubernetes Multi-Cluster Services promise (KEP-1645, its DNS
specification, schema version 1.0.0). `<federation>.isthmus` holds what that specification forbids there: one
cluster's share of a service. A service is kept as it came, and its records are made when somebody asks for them: most
of a large clusterset is never asked for, and a record weighs more than all that is known of its service. Every ancestor
of a service's name counts its descendants, so that an empty non-terminal is told from a name that does not exist
(RFC 8020) and a change of one service costs work in proportion to that service.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable
from typing import TypeAlias

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.HINFO
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import msgspec
from dns.rdatatype import RdataType

from discovery.model import CLUSTERSET_ZONE, Port, ServiceName, is_dns_label

SCHEMA_VERSION = "1.0.0"
SCHEMA_VERSION_TTL_S = 28_800
OWN_ZONE = "isthmus"
"""Below it, every federation has a zone of its own: `<federation>.isthmus`."""

_IN = dns.rdataclass.IN
_SRV = dns.rdtypes.IN.SRV.SRV
_NS = dns.rdtypes.ANY.NS.NS
_SOA_TIMERS_S = (7200, 1800, 86_400)
"""Refresh, retry, expire: for secondary servers, of which there are none."""
_SRV_PRIORITY = 0
_SRV_WEIGHT = 100
_CLUSTERSET_LABELS, _OWN_LABELS = 5, 6
"""How many a service's name has in each zone, the zone's own among them."""
_NAME_BYTES = 255
_MADE_LIMIT = 4_096
_SRV_LABEL_MAX = 62
"""A label has 63 bytes, and the underscore of `_<port>` takes one."""

_Key: TypeAlias = tuple[bytes, ...]
"""A name's labels in lower case, without the root: what names are compared by (RFC 4343)."""
_Records: TypeAlias = dict[RdataType, tuple[dns.rdata.Rdata, ...]]


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


class Outcome(enum.Enum):
    """What a look-up comes to. All but `OUTSIDE` are authoritative."""

    FOUND = "found"
    NODATA = "nodata"
    """The name exists, without records of this type (RFC 2308 section 2.2)."""
    NXDOMAIN = "nxdomain"
    OUTSIDE = "outside"
    """Not under our zones: to be refused."""


class RecordSet(msgspec.Struct, frozen=True):
    """Records of one type at one name. `ttl_s` is seconds; `wires` is each record's data as it is sent."""

    owner: dns.name.Name
    rtype: RdataType
    ttl_s: int
    rdatas: tuple[dns.rdata.Rdata, ...]
    wires: tuple[bytes, ...]


class Answer(msgspec.Struct, frozen=True):
    """A look-up's result, section by section. The authority section of a negative answer is the zone's SOA."""

    outcome: Outcome
    answer: tuple[RecordSet, ...] = ()
    authority: tuple[RecordSet, ...] = ()
    additional: tuple[RecordSet, ...] = ()


class Zone:
    """The two zones' contents. Not thread-safe; look-ups never change it.

    Args:
        federation: the federation's name, a DNS label: the name of our own zone.
        nameservers: the addresses at which this DNS server itself is reached, for the A and AAAA records of the
            zones' NS name.
    """

    def __init__(self, federation: str, nameservers: Iterable[str] = ()) -> None:
        self._records: dict[_Key, _Records] = {}
        """The zones' own names."""
        self._services: dict[ServiceName, ZoneService] = {}
        self._made: dict[_Key, _Records] = {}
        """Records of services that were asked for lately; empty where there are none."""
        self._below: dict[_Key, int] = {}
        """How many names lie directly below each name, as names with records or above such: an empty non-terminal is in
        here only."""
        self._apexes: dict[_Key, dns.name.Name] = {}
        self._negative_soas: dict[tuple[_Key, int, int], RecordSet] = {}
        """By apex, generation and time to live."""
        self.generation = 1
        """Grows with every change. Whoever caches answers compares it; it is the SOA's serial number, too."""
        own_addresses = tuple(nameservers)
        self._federation_apex = _key(f"{federation}.{OWN_ZONE}")
        for apex in (_key(CLUSTERSET_ZONE), self._federation_apex):
            self._apexes[apex] = _name(apex)
            self._add(apex, {})
            self._add((b"ns", b"dns", *apex), _address_records(own_addresses))
        version = _rdata(dns.rdtypes.ANY.TXT.TXT, RdataType.TXT, [SCHEMA_VERSION])
        self._version_key = (b"dns-version", *_key(CLUSTERSET_ZONE))
        self._add(self._version_key, {RdataType.TXT: (version,)})

    def upsert(self, service: ZoneService) -> None:
        """Adds a service, or replaces what was there under its name.

        A name that is not made of DNS labels gets no records: nobody could ask for it, and one bad record shall not
        stop the others. What is there already, unchanged, costs nothing and keeps cached answers.
        """
        before = self._services.get(service.name)
        if before == service:
            return
        if before is not None:
            self._count(before, -1)
        self._services[service.name] = service
        self._count(service, 1)
        self._changed()

    def remove(self, name: ServiceName) -> None:
        """Removes a service. Unknown names are ignored."""
        service = self._services.pop(name, None)
        if service is not None:
            self._count(service, -1)
            self._changed()

    def _changed(self) -> None:
        self._made.clear()
        self.generation += 1

    def _count(self, service: ZoneService, step: int) -> None:
        for owner in _owners(service, self._federation_apex):
            self._count_below(owner[1:], step)

    def _count_below(self, parent: _Key, step: int) -> None:
        """One name more or less below `parent`. Only with the first and the last of them does `parent` itself come or
        go, and count where it lies."""
        while parent:
            before = self._below.get(parent, 0)
            if before + step:
                self._below[parent] = before + step
            else:
                del self._below[parent]
            if before and before + step:
                return
            parent = parent[1:]

    def lookup(self, qname: dns.name.Name, qtype: RdataType, ttl_s: int) -> Answer:
        """What the zones say to a question of class IN.

        `ttl_s` is the time to live of every record but the schema version's, and of negative answers (RFC 2308).
        Owners in the answer section are `qname` as it was asked, letter by letter.
        """
        key = _labels(qname)
        apex = self._apex_of(key)
        if apex is None:
            return Answer(Outcome.OUTSIDE)
        records = self._records_at(key)
        if records is None:
            exists = key in self._below or self._is_above_ports(key)
            return self._negative(Outcome.NODATA if exists else Outcome.NXDOMAIN, apex, ttl_s)
        if key == apex:
            records = self._apex_records(apex, ttl_s)
        if qtype is RdataType.ANY:
            return _minimal_any(qname, ttl_s)
        found = records.get(qtype)
        if not found:
            return self._negative(Outcome.NODATA, apex, ttl_s)
        shown_ttl_s = SCHEMA_VERSION_TTL_S if key == self._version_key else ttl_s
        return Answer(
            Outcome.FOUND,
            answer=(_record_set(qname, qtype, shown_ttl_s, found),),
            additional=self._targets(found, ttl_s),
        )

    def _records_at(self, key: _Key) -> _Records | None:
        """None: there are none at this name, whether it exists or not."""
        if key in self._records:
            return self._records[key]
        records = self._made.get(key)
        if records is None:
            found = self._owner_of(key)
            records = _service_records(key, *found) if found is not None else None
            if records:
                if len(self._made) >= _MADE_LIMIT:
                    self._made.clear()
                self._made[key] = records
        return records or None

    def _is_above_ports(self, key: _Key) -> bool:
        """Whether this is the `_tcp` between a service and the names of its ports."""
        found = self._owner_of(key) if key[0] == b"_tcp" else None
        return found is not None and len(key) == len(found[0]) + 1 and bool(_named_ports(found[1]))

    def _owner_of(self, key: _Key) -> tuple[_Key, ZoneService, tuple[str, ...]] | None:
        """The service at or below whose name this name lies: that name, the service, and its addresses there."""
        is_own = key[-2:] == self._federation_apex
        owner = key[-_OWN_LABELS:] if is_own else key[-_CLUSTERSET_LABELS:]
        if len(owner) < (_OWN_LABELS if is_own else _CLUSTERSET_LABELS) or owner[2] != b"svc":
            return None
        name, namespace = owner[0].decode("latin-1"), owner[1].decode("latin-1")
        service = self._services.get(ServiceName(namespace, name))
        if service is None or not _fits(owner):
            return None
        if not is_own:
            return owner, service, service.addresses
        cluster = owner[3].decode("latin-1")
        share = next((share for share in service.shares if share.cluster == cluster), None)
        return (owner, service, share.addresses) if share is not None else None

    def _apex_of(self, key: _Key) -> _Key | None:
        suffix = key[-2:]
        return suffix if suffix in self._apexes else None

    def _negative(self, outcome: Outcome, apex: _Key, ttl_s: int) -> Answer:
        key = (apex, self.generation, ttl_s)
        soa = self._negative_soas.get(key)
        if soa is None:
            # Names that do not exist are what attackers ask for: the one record they get is made once.
            self._negative_soas = {other: kept for other, kept in self._negative_soas.items() if other[1] == key[1]}
            soa = _record_set(self._apexes[apex], RdataType.SOA, ttl_s, (self._soa(apex, ttl_s),))
            self._negative_soas[key] = soa
        return Answer(outcome, authority=(soa,))

    def _targets(self, found: tuple[dns.rdata.Rdata, ...], ttl_s: int) -> tuple[RecordSet, ...]:
        """The addresses of what SRV and NS records point to, which saves the client a second question."""
        names = {rdata.target for rdata in found if isinstance(rdata, _SRV | _NS)}
        return tuple(
            _record_set(name, rtype, ttl_s, rdatas)
            for name in sorted(names)
            for rtype, rdatas in (self._records_at(_labels(name)) or {}).items()
            if rtype in (RdataType.A, RdataType.AAAA)
        )

    def _apex_records(self, apex: _Key, ttl_s: int) -> _Records:
        ns = _rdata(_NS, RdataType.NS, _name((b"ns", b"dns", *apex)))
        return {RdataType.SOA: (self._soa(apex, ttl_s),), RdataType.NS: (ns,)}

    def _soa(self, apex: _Key, ttl_s: int) -> dns.rdata.Rdata:
        return _rdata(
            dns.rdtypes.ANY.SOA.SOA,
            RdataType.SOA,
            _name((b"ns", b"dns", *apex)),
            _name((b"hostmaster", *apex)),
            self.generation & 0xFFFF_FFFF,
            *_SOA_TIMERS_S,
            ttl_s,
        )

    def _add(self, key: _Key, records: _Records) -> None:
        self._records[key] = records
        self._count_below(key[1:], 1)


def _owners(service: ZoneService, federation_apex: _Key) -> Iterable[_Key]:
    """Every name that a service has addresses at."""
    if not (is_dns_label(service.name.name) and is_dns_label(service.name.namespace)):
        return
    owners = [_key(service.name.fqdn)]
    for share in service.shares:
        if is_dns_label(share.cluster):
            owners.append(
                (*_key(f"{service.name.name}.{service.name.namespace}.svc.{share.cluster}"), *federation_apex)
            )
    yield from (owner for owner in owners if _fits(owner))


def _fits(owner: _Key) -> bool:
    """Whether it is short enough for a name (RFC 1035 section 2.3.4): each label and the root have a length byte."""
    return sum(map(len, owner)) + len(owner) + 1 <= _NAME_BYTES


def _named_ports(service: ZoneService) -> list[Port]:
    return [port for port in service.ports if is_dns_label(port.name) and len(port.name) <= _SRV_LABEL_MAX]


def _service_records(key: _Key, owner: _Key, service: ZoneService, addresses: Iterable[str]) -> _Records:
    """The records at `key`, which is the service's own name `owner` or below it; empty where there are none.

    The specification asks for SRV at `_<port>._<protocol>.` only, and leaves the service's own name open. There we
    answer with the ports of all names, as CoreDNS does for Kubernetes: it is what people type into dig. Every protocol
    of ours is carried by TCP.
    """
    target, named = _name(owner), _named_ports(service)
    below = key[: len(key) - len(owner)]
    if not below:
        records = _address_records(addresses)
        if named:
            records[RdataType.SRV] = tuple(_srv(port, target) for port in named)
        return records
    if len(below) == 2 and below[1] == b"_tcp" and sum(map(len, key)) + len(key) + 1 <= _NAME_BYTES:
        asked = tuple(_srv(port, target) for port in named if below[0] == b"_" + port.name.encode())
        return {RdataType.SRV: asked[-1:]} if asked else {}
    return {}


def _srv(port: Port, target: dns.name.Name) -> dns.rdata.Rdata:
    return _rdata(_SRV, RdataType.SRV, _SRV_PRIORITY, _SRV_WEIGHT, port.port, target)


def _address_records(addresses: Iterable[str]) -> _Records:
    records: _Records = {}
    for text in addresses:
        if ipaddress.ip_address(text).version == 4:
            rdata = _rdata(dns.rdtypes.IN.A.A, RdataType.A, text)
        else:
            rdata = _rdata(dns.rdtypes.IN.AAAA.AAAA, RdataType.AAAA, text)
        records[rdata.rdtype] = (*records.get(rdata.rdtype, ()), rdata)
    return records


def _record_set(owner: dns.name.Name, rtype: RdataType, ttl_s: int, rdatas: tuple[dns.rdata.Rdata, ...]) -> RecordSet:
    # Without a file, to_wire returns the bytes; its type says that it might not.
    return RecordSet(owner, rtype, ttl_s, rdatas, tuple(rdata.to_wire() or b"" for rdata in rdatas))


def _rdata(kind: Callable[..., dns.rdata.Rdata], rtype: RdataType, *fields: object) -> dns.rdata.Rdata:
    return kind(_IN, rtype, *fields)


def _minimal_any(qname: dns.name.Name, ttl_s: int) -> Answer:
    """RFC 8482 section 4.2: one synthesized HINFO in place of everything."""
    hinfo = _rdata(dns.rdtypes.ANY.HINFO.HINFO, RdataType.HINFO, b"RFC8482", b"")
    return Answer(Outcome.FOUND, answer=(_record_set(qname, RdataType.HINFO, ttl_s, (hinfo,)),))


def _key(name: str) -> _Key:
    return tuple(name.lower().encode().split(b"."))


def _labels(name: dns.name.Name) -> _Key:
    return tuple(label.lower() for label in name.labels if label)


def _name(key: _Key) -> dns.name.Name:
    return dns.name.Name((*key, b""))
