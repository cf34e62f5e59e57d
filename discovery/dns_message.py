"""From a DNS query's bytes to its answer's bytes (RFC 1035, RFC 6891, RFC 8482), without I/O.

Most queries repeat, byte for byte but for their id. Parsing and building a message takes about 200 µs, so finished
answers are kept by the query's bytes after the id, and a repeated question costs one look-up. Every change of the
zone forgets them all.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from discovery.zone import Answer, Outcome, RecordSet, Zone

UDP_PAYLOAD_BYTES = 1232
"""What we advertise and never exceed over UDP: fits IPv6's minimum MTU, so no answer is ever fragmented
(DNS flag day 2020)."""
_PLAIN_UDP_BYTES = 512
_TCP_BYTES = 65_535
_CACHE_ENTRIES = 8192
_CACHED_QUERY_BYTES = 320
"""A header, the longest name, type and class, and a bare OPT record take 282 bytes."""

_HEADER = struct.Struct("!HHHHHH")
_QR, _OPCODE_MASK = 0x8000, 0x7800
_COUNTED_TYPES = frozenset(
    {"A", "AAAA", "ANY", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT"},
)
_TRANSFERS = frozenset({RdataType.AXFR, RdataType.IXFR})
_RCODES = {
    Outcome.FOUND: dns.rcode.NOERROR,
    Outcome.NODATA: dns.rcode.NOERROR,
    Outcome.NXDOMAIN: dns.rcode.NXDOMAIN,
    Outcome.OUTSIDE: dns.rcode.REFUSED,
}


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
        if len(wire) < _HEADER.size or wire[2] & 0x80:
            self.counters.malformed += 1
            return None
        return self._respond_uncached(wire, udp)

    def _respond_uncached(self, wire: bytes, udp: bool) -> bytes:
        _, flags, questions, *_ = _HEADER.unpack_from(wire)
        if flags & _OPCODE_MASK:
            return self._bare_error(wire, dns.rcode.NOTIMP)
        query = _parse(wire) if questions == 1 else None  # RFC 9619
        if query is None:
            self.counters.malformed += 1
            return self._bare_error(wire, dns.rcode.FORMERR)
        response = self._answer(query)
        answer_wire = self._encode(response, _size_limit(query, udp))
        label = (_type_label(query.question[0].rdtype), dns.rcode.to_text(response.rcode()))
        self.counters.answers[label] += 1
        if _is_plain(query, wire):
            self._keep(wire[2:], _Cached(answer_wire[2:], label), udp)
        return answer_wire

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, our_payload=UDP_PAYLOAD_BYTES, pad=0)
        if query.edns >= 0:
            # RFC 3225 section 3: the DO bit comes back as it was asked.
            response.ednsflags = query.ednsflags & dns.flags.DO
        question = query.question[0]
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
        elif question.rdclass != dns.rdataclass.IN or question.rdtype in _TRANSFERS:
            response.set_rcode(dns.rcode.REFUSED)
        else:
            _fill(response, self._zone.lookup(question.name, question.rdtype, self._ttl_s))
        return response

    def _encode(self, response: dns.message.Message, limit: int) -> bytes:
        """Encodes within `limit` bytes: first the additional section goes, then everything, with TC set, so that
        the client asks again over TCP (RFC 2181 section 9)."""
        # Unasked, dnspython shuffles records with a random source of its own.
        try:
            return response.to_wire(max_size=limit, want_shuffle=False)
        except dns.exception.TooBig:
            response.additional = []
        try:
            return response.to_wire(max_size=limit, want_shuffle=False)
        except dns.exception.TooBig:
            response.answer, response.authority = [], []
        self.counters.truncated += 1
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=limit)

    def _bare_error(self, wire: bytes, rcode: Rcode) -> bytes:
        """An answer to what we could not read beyond its header: the header alone."""
        self.counters.answers["other", dns.rcode.to_text(rcode)] += 1
        ident, flags, *_ = _HEADER.unpack_from(wire)
        kept = flags & (_OPCODE_MASK | dns.flags.RD)
        return _HEADER.pack(ident, _QR | kept | rcode, 0, 0, 0, 0)

    def _keep(self, key: bytes, cached: _Cached, udp: bool) -> None:
        cache = self._caches[udp]
        if len(cache) >= _CACHE_ENTRIES:
            # Someone asks for random names. What is really asked for comes back with its next query.
            cache.clear()
        cache[key] = cached


def _parse(wire: bytes) -> dns.message.Message | None:
    try:
        # keyring=False: a TSIG record is not verified, and gets an answer without one.
        query = dns.message.from_wire(wire, keyring=False)
        _ = query.question[0].rdtype
    except Exception:
        # Hostile bytes meet a large parser here: whatever it trips over is the sender's mistake, not ours.
        return None
    return query


def _is_plain(query: dns.message.Message, wire: bytes) -> bool:
    """Whether a query's bytes are likely to come again: a question, and at most an OPT record without options.
    Cookies and padding differ from query to query, and would only fill the cache."""
    others = query.answer or query.authority or query.additional or query.had_tsig or query.options
    return not others and len(wire) <= _CACHED_QUERY_BYTES


def _size_limit(query: dns.message.Message, udp: bool) -> int:
    if not udp:
        return _TCP_BYTES
    if query.edns < 0:
        return _PLAIN_UDP_BYTES
    return min(max(query.payload, _PLAIN_UDP_BYTES), UDP_PAYLOAD_BYTES)


def _fill(response: dns.message.Message, answer: Answer) -> None:
    response.set_rcode(_RCODES[answer.outcome])
    if answer.outcome is not Outcome.OUTSIDE:
        response.flags |= dns.flags.AA
    response.answer = [_rrset(records) for records in answer.answer]
    response.authority = [_rrset(records) for records in answer.authority]
    response.additional = [_rrset(records) for records in answer.additional]


def _rrset(records: RecordSet) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(records.owner, records.ttl_s, records.rdatas)


def _type_label(rtype: RdataType) -> str:
    text = dns.rdatatype.to_text(rtype)
    return text if text in _COUNTED_TYPES else "other"
