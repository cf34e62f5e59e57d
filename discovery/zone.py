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
from collections.abc import Iterable

import dns.name
import dns.rdata
import dns.rdtypes.ANY.HINFO
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import msgspec
from dns.rdatatype import RdataType

from discovery.model import CLUSTERSET_ZONE, ServiceName
from discovery.zone_records import (
    NS,
    SRV,
    Key,
    Records,
    RecordSet,
    ZoneService,
    address_records,
    fits,
    key_of,
    labels_of,
    make_rdata,
    name_of,
    named_ports,
    parents_of,
    record_set,
    service_records,
)

SCHEMA_VERSION = "1.0.0"
SCHEMA_VERSION_TTL_S = 28_800
OWN_ZONE = "isthmus"
"""Below it, every federation has a zone of its own: `<federation>.isthmus`."""

_SOA_TIMERS_S = (7200, 1800, 86_400)
"""Refresh, retry, expire: for secondary servers, of which there are none."""
_CLUSTERSET_LABELS, _OWN_LABELS = 5, 6
"""How many a service's name has in each zone, the zone's own among them."""
_MADE_LIMIT = 4_096


class Outcome(enum.Enum):
    """What a look-up comes to. All but `OUTSIDE` are authoritative."""

    FOUND = "found"
    NODATA = "nodata"
    """The name exists, without records of this type (RFC 2308 section 2.2)."""
    NXDOMAIN = "nxdomain"
    OUTSIDE = "outside"
    """Not under our zones: to be refused."""


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
        self._records: dict[Key, Records] = {}
        """The zones' own names."""
        self._services: dict[ServiceName, ZoneService] = {}
        self._made: dict[Key, Records] = {}
        """Records of services that were asked for lately; empty where there are none."""
        self._below: dict[Key, int] = {}
        """How many names lie directly below each name, as names with records or above such: an empty non-terminal is in
        here only."""
        self._apexes: dict[Key, dns.name.Name] = {}
        self._negative_soas: dict[tuple[Key, int, int], RecordSet] = {}
        """By apex, generation and time to live."""
        self.generation = 1
        """Grows with every change. Whoever caches answers compares it; it is the SOA's serial number, too."""
        own_addresses = tuple(nameservers)
        self._federation_apex = key_of(f"{federation}.{OWN_ZONE}")
        for apex in (key_of(CLUSTERSET_ZONE), self._federation_apex):
            self._apexes[apex] = name_of(apex)
            self._add(apex, {})
            self._add((b"ns", b"dns", *apex), address_records(own_addresses))
        version = make_rdata(dns.rdtypes.ANY.TXT.TXT, RdataType.TXT, [SCHEMA_VERSION])
        self._version_key = (b"dns-version", *key_of(CLUSTERSET_ZONE))
        self._add(self._version_key, {RdataType.TXT: (version,)})

    def upsert(self, service: ZoneService) -> None:
        """Adds a service, or replaces what was there under its name.

        A name that is not made of DNS labels gets no records: nobody could ask for it, and one bad record shall not
        stop the others. What is there already, unchanged, costs nothing and keeps cached answers.
        """
        before = self._services.get(service.name)
        if before == service:
            return
        self._services[service.name] = service
        if before is None or before.shares != service.shares:
            if before is not None:
                self._count(before, -1)
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
        for parent in parents_of(service, self._federation_apex):
            self._count_below(parent, step)

    def _count_below(self, parent: Key, step: int) -> None:
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
        key = labels_of(qname)
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
            answer=(record_set(qname, qtype, shown_ttl_s, found),),
            additional=self._targets(found, ttl_s),
        )

    def _records_at(self, key: Key) -> Records | None:
        """None: there are none at this name, whether it exists or not."""
        if key in self._records:
            return self._records[key]
        records = self._made.get(key)
        if records is None:
            found = self._owner_of(key)
            records = service_records(key, *found) if found is not None else None
            if records:
                if len(self._made) >= _MADE_LIMIT:
                    self._made.clear()
                self._made[key] = records
        return records or None

    def _is_above_ports(self, key: Key) -> bool:
        """Whether this is the `_tcp` between a service and the names of its ports."""
        found = self._owner_of(key) if key[0] == b"_tcp" else None
        return found is not None and len(key) == len(found[0]) + 1 and bool(named_ports(found[1]))

    def _owner_of(self, key: Key) -> tuple[Key, ZoneService, tuple[str, ...]] | None:
        """The service at or below whose name this name lies: that name, the service, and its addresses there."""
        is_own = key[-2:] == self._federation_apex
        owner = key[-_OWN_LABELS:] if is_own else key[-_CLUSTERSET_LABELS:]
        if len(owner) < (_OWN_LABELS if is_own else _CLUSTERSET_LABELS) or owner[2] != b"svc":
            return None
        name, namespace = owner[0].decode("latin-1"), owner[1].decode("latin-1")
        service = self._services.get(ServiceName(namespace, name))
        if service is None or not fits(owner):
            return None
        if not is_own:
            return owner, service, service.addresses
        cluster = owner[3].decode("latin-1")
        share = next((share for share in service.shares if share.cluster == cluster), None)
        return (owner, service, share.addresses) if share is not None else None

    def _apex_of(self, key: Key) -> Key | None:
        suffix = key[-2:]
        return suffix if suffix in self._apexes else None

    def _negative(self, outcome: Outcome, apex: Key, ttl_s: int) -> Answer:
        key = (apex, self.generation, ttl_s)
        soa = self._negative_soas.get(key)
        if soa is None:
            # Names that do not exist are what attackers ask for: the one record they get is made once.
            self._negative_soas = {other: kept for other, kept in self._negative_soas.items() if other[1] == key[1]}
            soa = record_set(self._apexes[apex], RdataType.SOA, ttl_s, (self._soa(apex, ttl_s),))
            self._negative_soas[key] = soa
        return Answer(outcome, authority=(soa,))

    def _targets(self, found: tuple[dns.rdata.Rdata, ...], ttl_s: int) -> tuple[RecordSet, ...]:
        """The addresses of what SRV and NS records point to, which saves the client a second question."""
        names = {rdata.target for rdata in found if isinstance(rdata, SRV | NS)}
        return tuple(
            record_set(name, rtype, ttl_s, rdatas)
            for name in sorted(names)
            for rtype, rdatas in (self._records_at(labels_of(name)) or {}).items()
            if rtype in (RdataType.A, RdataType.AAAA)
        )

    def _apex_records(self, apex: Key, ttl_s: int) -> Records:
        ns = make_rdata(NS, RdataType.NS, name_of((b"ns", b"dns", *apex)))
        return {RdataType.SOA: (self._soa(apex, ttl_s),), RdataType.NS: (ns,)}

    def _soa(self, apex: Key, ttl_s: int) -> dns.rdata.Rdata:
        return make_rdata(
            dns.rdtypes.ANY.SOA.SOA,
            RdataType.SOA,
            name_of((b"ns", b"dns", *apex)),
            name_of((b"hostmaster", *apex)),
            self.generation & 0xFFFF_FFFF,
            *_SOA_TIMERS_S,
            ttl_s,
        )

    def _add(self, key: Key, records: Records) -> None:
        self._records[key] = records
        self._count_below(key[1:], 1)


def _minimal_any(qname: dns.name.Name, ttl_s: int) -> Answer:
    """RFC 8482 section 4.2: one synthesized HINFO in place of everything."""
    hinfo = make_rdata(dns.rdtypes.ANY.HINFO.HINFO, RdataType.HINFO, b"RFC8482", b"")
    return Answer(Outcome.FOUND, answer=(record_set(qname, RdataType.HINFO, ttl_s, (hinfo,)),))
