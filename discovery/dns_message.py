"""From a DNS query's bytes to its answer's bytes (RFC 1035, RFC 6891, RFC 8482), without I/O.

Most queries repeat, byte for byte but for their id, so finished answers are kept by the query's bytes after the id,
and a repeated question costs one look-up. Cookies and padding make queries unique, and such are not kept. Every
change of the zone forgets all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from discovery.dns_wire import (
    AA,
    HEADER,
    OPCODE_MASK,
    TC,
    UDP_PAYLOAD_BYTES,
    MalformedQuery,
    Query,
    encode_answer,
    encode_error,
    parse_query,
)
from discovery.zone import Answer, Outcome, Zone

_PLAIN_UDP_BYTES = 512
_TCP_BYTES = 65_535
_CACHE_ENTRIES = 8192
_COUNTED_TYPES = {
    RdataType[name]: name
    for name in ("A", "AAAA", "ANY", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT")
}
_TRANSFERS = frozenset({RdataType.AXFR, RdataType.IXFR})
_RCODES = {
    Outcome.FOUND: dns.rcode.NOERROR,
    Outcome.NODATA: dns.rcode.NOERROR,
    Outcome.NXDOMAIN: dns.rcode.NXDOMAIN,
    Outcome.OUTSIDE: dns.rcode.REFUSED,
}
_NO_ANSWER = Answer(Outcome.OUTSIDE)


@dataclass(slots=True)
class DnsCounters:
    """What a responder saw. `answers` counts by query type (bounded: `other` for what nobody should ask us) and
    response code; both label a metric."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    cache_hits: int = 0
    truncated: int = 0
    malformed: int = 0
    """Packets without a header, responses, and queries that can't be parsed."""
    unsent: int = 0
    """Answers over UDP that the socket did not take."""


@dataclass(frozen=True, slots=True)
class _Cached:
    wire_after_id: bytes
    label: tuple[str, str]


class Responder:
    """Answers queries from a zone.

    Args:
        zone: may change at any time; the next answer shows it.
        ttl_s: seconds that clients may keep an answer, and that it takes until they see a change.
        counters: counts what is answered.
    """

    def __init__(self, zone: Zone, ttl_s: int, counters: DnsCounters) -> None:
        self._zone = zone
        self._ttl_s = ttl_s
        self.counters = counters
        self._generation = zone.generation
        # Over UDP an answer may be cut short, over TCP it never is: two caches.
        self._caches: dict[bool, dict[bytes, _Cached]] = {True: {}, False: {}}

    def respond(self, wire: bytes, *, udp: bool) -> bytes | None:
        """The answer to one message, or None where silence is right. Never raises, whatever the bytes are.

        Silence meets what is no query at all: a response to one could make two servers talk to each other forever.
        """
        if self._generation != self._zone.generation:
            self._generation = self._zone.generation
            for cache in self._caches.values():
                cache.clear()
        cached = self._caches[udp].get(wire[2:])
        if cached is not None:
            self.counters.cache_hits += 1
            self.counters.answers[cached.label] += 1
            return wire[:2] + cached.wire_after_id
        if len(wire) < HEADER.size or wire[2] & 0x80:
            self.counters.malformed += 1
            return None
        return self._respond_uncached(wire, udp)

    def _respond_uncached(self, wire: bytes, udp: bool) -> bytes:
        if wire[2] << 8 & OPCODE_MASK:
            return self._error(wire, dns.rcode.NOTIMP)
        try:
            query = parse_query(wire)
        except MalformedQuery:
            self.counters.malformed += 1
            return self._error(wire, dns.rcode.FORMERR)
        rcode, answer = self._answer(query)
        flags = AA if answer.outcome is not Outcome.OUTSIDE else 0
        sections = (answer.answer, answer.authority, answer.additional)
        answer_wire = encode_answer(query, flags, rcode, sections, _size_limit(query, udp))
        label = (_COUNTED_TYPES.get(query.rtype, "other"), rcode.name)
        self.counters.answers[label] += 1
        self.counters.truncated += bool(answer_wire[2] << 8 & TC)
        if query.plain:
            self._keep(wire[2:], _Cached(answer_wire[2:], label), udp)
        return answer_wire

    def _answer(self, query: Query) -> tuple[Rcode, Answer]:
        if query.edns is not None and query.edns.version > 0:
            return dns.rcode.BADVERS, _NO_ANSWER
        if query.rclass != dns.rdataclass.IN or query.rtype in _TRANSFERS:
            return dns.rcode.REFUSED, _NO_ANSWER
        answer = self._zone.lookup(query.name, query.rtype, self._ttl_s)
        return _RCODES[answer.outcome], answer

    def _error(self, wire: bytes, rcode: Rcode) -> bytes:
        self.counters.answers["other", rcode.name] += 1
        return encode_error(wire, rcode)

    def _keep(self, key: bytes, cached: _Cached, udp: bool) -> None:
        cache = self._caches[udp]
        if len(cache) >= _CACHE_ENTRIES:
            # Someone asks for random names. What is really asked for comes back with its next query.
            cache.clear()
        cache[key] = cached


def _size_limit(query: Query, udp: bool) -> int:
    if not udp:
        return _TCP_BYTES
    if query.edns is None:
        return _PLAIN_UDP_BYTES
    # RFC 6891 section 6.2.3: less than 512 means 512.
    return min(max(query.edns.payload_bytes, _PLAIN_UDP_BYTES), UDP_PAYLOAD_BYTES)
