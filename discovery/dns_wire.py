"""The bytes of DNS queries and answers (RFC 1035 section 4, RFC 6891), as far as an authoritative server needs them.

dnspython gives names, types and record data. Messages are read and put together here: a general parser and renderer
take ten times as long, which whoever asks for random names would turn against the traffic of the same worker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import dns.exception
import dns.name
import dns.rcode
import msgspec
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from discovery.zone_records import RecordSet

UDP_PAYLOAD_BYTES = 1232
"""What we advertise and never exceed over UDP: it fits IPv6's minimum MTU, so that no answer is ever fragmented
(DNS flag day 2020)."""

QR, AA, TC, RD = 0x8000, 0x0400, 0x0200, 0x0100
OPCODE_MASK = 0x7800

HEADER = struct.Struct("!HHHHHH")
_QUESTION_END = struct.Struct("!HH")
_RECORD_START = struct.Struct("!HHIH")
"""Type, class, time to live, length of the data: what follows a record's owner."""
_POINTER = struct.Struct("!H")
_POINTER_MARK = 0xC0
_EDNS_DO = 0x8000


class MalformedQuery(Exception):
    """The bytes have a header, and are no query beyond it. Never leaves the responder."""


class Edns(msgspec.Struct, frozen=True):
    """A query's OPT record. `flags` is the upper half-word: only DO is defined (RFC 3225)."""

    version: int
    payload_bytes: int
    do: bool
    has_options: bool


class Query(msgspec.Struct, frozen=True):
    """A query of one question. `section` is the question section's bytes, which an answer repeats as they are."""

    id: int
    flags: int
    name: dns.name.Name
    rtype: RdataType
    rclass: int
    section: bytes
    edns: Edns | None
    plain: bool
    """Nothing but the question, and perhaps an OPT record without options: likely to come again byte for byte."""


def parse_query(wire: bytes) -> Query:
    """Reads a query whose header is whole and whose opcode is QUERY.

    Raises:
        MalformedQuery: for anything but exactly one question (RFC 9619) and whole records to the last byte.
    """
    ident, flags, questions, *others = HEADER.unpack_from(wire)
    if questions != 1:
        raise MalformedQuery
    try:
        name, offset = _parse_name(wire, HEADER.size)
        rtype, rclass = _QUESTION_END.unpack_from(wire, offset)
        end = offset + _QUESTION_END.size
        edns, offset = _parse_records(wire, end, sum(others))
    except (struct.error, IndexError, dns.exception.DNSException) as error:
        raise MalformedQuery from error
    if offset != len(wire):
        raise MalformedQuery
    plain = sum(others) == (edns is not None) and not (edns and edns.has_options)
    return Query(ident, flags, name, RdataType.make(rtype), rclass, wire[HEADER.size : end], edns, plain)


def _parse_name(wire: bytes, offset: int) -> tuple[dns.name.Name, int]:
    """The question's name. It is the message's first, so that a pointer has nothing to point to."""
    labels = []
    while length := wire[offset]:
        end = offset + 1 + length
        if length >= 64 or end >= len(wire):
            raise MalformedQuery
        labels.append(wire[offset + 1 : end])
        offset = end
    return dns.name.Name((*labels, b"")), offset + 1


def _parse_records(wire: bytes, offset: int, count: int) -> tuple[Edns | None, int]:
    """Walks over the records after the question; only OPT means something in a query."""
    edns = None
    for _ in range(count):
        is_root = wire[offset] == 0
        offset = _skip_name(wire, offset)
        rtype, rclass, ttl, length = _RECORD_START.unpack_from(wire, offset)
        offset += _RECORD_START.size + length
        if offset > len(wire):
            raise MalformedQuery
        if rtype == RdataType.OPT:
            if edns is not None or not is_root:  # RFC 6891 section 6.1.1 and 6.1.2
                raise MalformedQuery
            edns = Edns(ttl >> 16 & 0xFF, rclass, bool(ttl & _EDNS_DO), length > 0)
    return edns, offset


def _skip_name(wire: bytes, offset: int) -> int:
    while length := wire[offset]:
        if length >= _POINTER_MARK:
            return offset + _POINTER.size
        if length >= 64:
            raise MalformedQuery
        offset += 1 + length
    return offset + 1


def encode_answer(
    query: Query,
    flags: int,
    rcode: Rcode,
    sections: tuple[Iterable[RecordSet], Iterable[RecordSet], Iterable[RecordSet]],
    limit_bytes: int,
) -> bytes:
    """An answer of at most `limit_bytes`. `sections` are answer, authority and additional.

    What does not fit goes in this order: the additional section, which nobody asked for; then everything, with TC
    set, so that the client asks again over TCP (RFC 2181 section 9).
    """
    opt = b"" if query.edns is None else _encode_opt(query.edns, rcode)
    answer, authority, additional = (_encode_section(query, section) for section in sections)
    room = limit_bytes - HEADER.size - len(query.section) - len(opt)
    if len(answer[1]) + len(authority[1]) + len(additional[1]) > room:
        additional = _NOTHING
    if len(answer[1]) + len(authority[1]) > room:
        answer = authority = _NOTHING
        flags |= TC
    header = HEADER.pack(
        query.id,
        QR | flags | query.flags & RD | rcode & 0xF,
        1,
        answer[0],
        authority[0],
        additional[0] + (query.edns is not None),
    )
    return b"".join((header, query.section, answer[1], authority[1], additional[1], opt))


def encode_error(wire: bytes, rcode: Rcode) -> bytes:
    """An answer to what can't be read beyond its header: the header alone."""
    ident, flags, *_ = HEADER.unpack_from(wire)
    return HEADER.pack(ident, QR | flags & (OPCODE_MASK | RD) | rcode, 0, 0, 0, 0)


_NOTHING = (0, b"")


def _encode_section(query: Query, section: Iterable[RecordSet]) -> tuple[int, bytes]:
    """How many records a section has, and their bytes."""
    count = 0
    parts: list[bytes] = []
    for records in section:
        owner = _encode_owner(query, records.owner)
        for data in records.wires:
            parts += (owner, _RECORD_START.pack(records.rtype, RdataClass.IN, records.ttl_s, len(data)), data)
        count += len(records.wires)
    return count, b"".join(parts)


def _encode_owner(query: Query, owner: dns.name.Name) -> bytes:
    """A pointer into the question where the owner is its end, as nearly always; else the whole name."""
    asked = query.name.labels
    split = len(asked) - len(owner.labels)
    same = split >= 0 and all(
        ours.lower() == theirs.lower() for ours, theirs in zip(owner.labels, asked[split:], strict=True)
    )
    if not same:
        return owner.to_wire() or b""
    offset = HEADER.size + sum(len(label) + 1 for label in asked[:split])
    return _POINTER.pack(_POINTER_MARK << 8 | offset)


def _encode_opt(asked: Edns, rcode: Rcode) -> bytes:
    """Our OPT record: version 0, the upper bits of the response code, DO as it was asked (RFC 3225 section 3)."""
    ttl = (rcode >> 4) << 24 | (_EDNS_DO if asked.do else 0)
    return b"\0" + _RECORD_START.pack(RdataType.OPT, UDP_PAYLOAD_BYTES, ttl, 0)
