"""The hand-made reader and writer, judged by dnspython where it can judge."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import dns.tsig
import pytest

from discovery.dns_wire import AA, MalformedQuery, encode_answer, parse_query
from discovery.model import ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService

PAYMENTS = ServiceName("shop", "payments")
COOKIE = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"8 bytes!")


def test_edns_is_read_as_dnspython_writes_it() -> None:
    """Version, size, DO, and whether options make the query unlikely to come again."""
    query = dns.message.make_query(PAYMENTS.fqdn, "SRV", use_edns=1, payload=900, want_dnssec=True, options=[COOKIE])
    read = parse_query(query.to_wire())
    assert (read.id, read.name, read.rtype, read.rclass) == (query.id, query.question[0].name, 33, 1)
    assert read.edns is not None
    assert (read.edns.version, read.edns.payload_bytes, read.edns.do, read.edns.has_options) == (1, 900, True, True)
    assert not read.plain


@pytest.mark.parametrize("edns", [-1, 0])
def test_ordinary_queries_are_plain(edns: int) -> None:
    """What resolvers send all day is what the cache is for."""
    assert parse_query(dns.message.make_query(PAYMENTS.fqdn, "A", use_edns=edns).to_wire()).plain


def test_records_that_mean_nothing_to_us_are_walked_over() -> None:
    """A TSIG, an additional record with a compressed owner, an IXFR's SOA: legal, ignored, not cached."""
    signed = dns.message.make_query(PAYMENTS.fqdn, "A", use_edns=0)
    signed.use_tsig(dns.tsig.Key("key.test", b"secret"))
    extra = dns.message.make_query(PAYMENTS.fqdn, "A")
    extra.additional.append(dns.rrset.from_text(PAYMENTS.fqdn + ".", 5, "IN", "A", "127.0.0.1"))
    extra.authority.append(dns.rrset.from_text("clusterset.local.", 5, "IN", "SOA", "a. b. 1 2 3 4 5"))
    for query in (signed, extra):
        read = parse_query(query.to_wire())
        assert read.name == query.question[0].name
        assert not read.plain


@pytest.mark.parametrize("cut", range(12, 47))
def test_a_query_cut_anywhere_is_malformed(cut: int) -> None:
    """No prefix of a query is taken for a whole one."""
    wire = dns.message.make_query("payments.shop.test", "A", use_edns=0).to_wire()
    assert len(wire) == 12 + 20 + 4 + 11
    with pytest.raises(MalformedQuery):
        parse_query(wire[:cut])


@pytest.mark.parametrize(
    "name",
    [
        b"\x40" + b"x" * 64 + b"\0",  # A label of 64 bytes: the two upper bits are reserved.
        b"\xc0\x0c",  # A pointer to itself.
        b"\x3f" + b"x" * 63 + (b"\x3f" + b"x" * 63) * 3 + b"\0",  # 257 bytes: one label too many.
    ],
)
def test_names_that_are_none(name: bytes) -> None:
    """RFC 1035 section 2.3.4: labels of 63 bytes, names of 255."""
    with pytest.raises(MalformedQuery):
        parse_query(b"\0\1\1\0\0\1" + bytes(6) + name + b"\0\1\0\1")


@pytest.mark.parametrize("qtype", ["A", "SRV", "AAAA", "TXT"])
def test_owners_become_pointers_that_dnspython_follows(qtype: str) -> None:
    """Compression must point at the right byte, in whatever case the question came."""
    zone = Zone("acme")
    zone.upsert(ZoneService(PAYMENTS, ("127.80.0.7",), ()))
    for asked in (
        PAYMENTS.fqdn,
        PAYMENTS.fqdn.upper(),
        "x." + PAYMENTS.fqdn,
        "clusterset.local",
        "ns.dns.acme.isthmus",
    ):
        query = parse_query(dns.message.make_query(asked, qtype).to_wire())
        answer = zone.lookup(query.name, query.rtype, 5)
        sections = (answer.answer, answer.authority, answer.additional)
        wire = encode_answer(query, AA, dns.rcode.NOERROR, sections, 512)
        read = dns.message.from_wire(wire)
        for given, seen in zip(sections, (read.answer, read.authority, read.additional), strict=True):
            assert [records.owner for records in given] == [rrset.name for rrset in seen]
            assert [list(records.rdatas) for records in given] == [list(rrset) for rrset in seen]
