"""Golden answers: one table from a question to the whole response.

Sources: KEP-1645's DNS specification 1.0.0 ("mcs"), RFC 1035, 2308 (negative answers), 6891 (EDNS), 8020 (empty
non-terminals), 8482 (ANY), 9619 (one question).
"""

from __future__ import annotations

from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import pytest

from discovery.dns_message import DnsCounters, Responder
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ClusterShare, ZoneService

SOA = "clusterset.local. 5 IN SOA ns.dns.clusterset.local. hostmaster.clusterset.local. 4 7200 1800 86400 5"
OWN_SOA = "acme.isthmus. 5 IN SOA ns.dns.acme.isthmus. hostmaster.acme.isthmus. 4 7200 1800 86400 5"
A = "payments.shop.svc.clusterset.local. 5 IN A 127.80.0.7"
SRV_DATA = "5 IN SRV 0 100 80 payments.shop.svc.clusterset.local."


class Golden(NamedTuple):
    question: str
    rcode: str
    answer: list[str] = []  # noqa: RUF012 — a NamedTuple's default, never changed
    authority: list[str] = []  # noqa: RUF012
    additional: list[str] = []  # noqa: RUF012
    flags: str = "QR AA RD"


GOLDEN = [
    # A service with a clusterset IP (mcs 2.3).
    Golden("payments.shop.svc.clusterset.local A", "NOERROR", [A]),
    Golden(
        "pAyMeNtS.shop.SVC.clusterset.LOCAL A", "NOERROR", ["pAyMeNtS.shop.SVC.clusterset.LOCAL. 5 IN A 127.80.0.7"]
    ),
    Golden("payments.shop.svc.clusterset.local AAAA", "NOERROR", [], [SOA]),
    Golden("payments.shop.svc.clusterset.local TXT", "NOERROR", [], [SOA]),
    Golden("payments.shop.svc.clusterset.local HTTPS", "NOERROR", [], [SOA]),
    Golden("payments.shop.svc.clusterset.local TYPE65280", "NOERROR", [], [SOA]),
    Golden(
        "_http._tcp.payments.shop.svc.clusterset.local SRV",
        "NOERROR",
        [f"_http._tcp.payments.shop.svc.clusterset.local. {SRV_DATA}"],
        [],
        [A],
    ),
    # At the service's own name SRV gives every named port, as CoreDNS does; mcs leaves it open.
    Golden(
        "payments.shop.svc.clusterset.local SRV",
        "NOERROR",
        [f"payments.shop.svc.clusterset.local. {SRV_DATA}"],
        [],
        [A],
    ),
    Golden("_http._tcp.payments.shop.svc.clusterset.local A", "NOERROR", [], [SOA]),
    Golden("_http._udp.payments.shop.svc.clusterset.local SRV", "NXDOMAIN", [], [SOA]),
    Golden("_grpc._tcp.payments.shop.svc.clusterset.local SRV", "NXDOMAIN", [], [SOA]),
    Golden("ledger.shop.svc.clusterset.local AAAA", "NOERROR", ["ledger.shop.svc.clusterset.local. 5 IN AAAA fd00::8"]),
    # What must not exist (mcs 2.3.4), and what does not.
    Golden("west.payments.shop.svc.clusterset.local A", "NXDOMAIN", [], [SOA]),
    Golden("orders.shop.svc.clusterset.local A", "NXDOMAIN", [], [SOA]),
    Golden("payments.other.svc.clusterset.local A", "NXDOMAIN", [], [SOA]),
    Golden("payments.shop.clusterset.local A", "NXDOMAIN", [], [SOA]),
    # Empty non-terminals exist (RFC 8020).
    Golden("_tcp.payments.shop.svc.clusterset.local A", "NOERROR", [], [SOA]),
    Golden("shop.svc.clusterset.local A", "NOERROR", [], [SOA]),
    Golden("svc.clusterset.local ANY", "NOERROR", [], [SOA]),
    # The apex, and the schema version (mcs 2.2).
    Golden("clusterset.local SOA", "NOERROR", [SOA]),
    Golden(
        "clusterset.local NS",
        "NOERROR",
        ["clusterset.local. 5 IN NS ns.dns.clusterset.local."],
        [],
        ["ns.dns.clusterset.local. 5 IN A 127.0.0.1"],
    ),
    Golden("ns.dns.clusterset.local A", "NOERROR", ["ns.dns.clusterset.local. 5 IN A 127.0.0.1"]),
    Golden("clusterset.local A", "NOERROR", [], [SOA]),
    Golden("dns-version.clusterset.local TXT", "NOERROR", ['dns-version.clusterset.local. 28800 IN TXT "1.0.0"']),
    Golden("dns-version.clusterset.local A", "NOERROR", [], [SOA]),
    # One cluster's share, in our own zone.
    Golden(
        "payments.shop.svc.west.acme.isthmus A", "NOERROR", ["payments.shop.svc.west.acme.isthmus. 5 IN A 127.80.9.9"]
    ),
    Golden("payments.shop.svc.eu.acme.isthmus A", "NXDOMAIN", [], [OWN_SOA]),
    Golden("svc.west.acme.isthmus A", "NOERROR", [], [OWN_SOA]),
    Golden("acme.isthmus SOA", "NOERROR", [OWN_SOA]),
    # ANY (RFC 8482 section 4.2).
    Golden(
        "payments.shop.svc.clusterset.local ANY",
        "NOERROR",
        ['payments.shop.svc.clusterset.local. 5 IN HINFO "RFC8482" ""'],
    ),
    Golden("orders.shop.svc.clusterset.local ANY", "NXDOMAIN", [], [SOA]),
    # Not ours.
    Golden("example.com A", "REFUSED", flags="QR RD"),
    Golden("local A", "REFUSED", flags="QR RD"),
    Golden(". NS", "REFUSED", flags="QR RD"),
    Golden("notclusterset.local A", "REFUSED", flags="QR RD"),
    Golden("payments.shop.svc.west.other.isthmus A", "REFUSED", flags="QR RD"),
    Golden("clusterset.local AXFR", "REFUSED", flags="QR RD"),
]


@pytest.fixture
def responder() -> Responder:
    zone = Zone("acme", ["127.0.0.1"])
    http = Port("http", 80, Protocol.HTTP)
    shares = (ClusterShare("west", ("127.80.9.9",)),)
    zone.upsert(ZoneService(ServiceName("shop", "payments"), ("127.80.0.7",), (http,), shares))
    zone.upsert(ZoneService(ServiceName("shop", "ledger"), ("127.80.0.8", "fd00::8"), ()))
    zone.upsert(ZoneService(ServiceName("gone", "gone"), ("127.80.0.9",), ()))
    zone.generation = 3
    zone.remove(ServiceName("gone", "gone"))
    return Responder(zone, 5, DnsCounters())


def ask(responder: Responder, query: dns.message.Message, *, udp: bool = True) -> dns.message.Message:
    wire = responder.respond(query.to_wire(), udp=udp)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert query.is_response(response)
    assert responder.respond(query.to_wire(), udp=udp) == wire, "the second answer comes from the cache"
    return response


@pytest.mark.parametrize("udp", [True, False], ids=["udp", "tcp"])
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.question)
def test_golden(responder: Responder, golden: Golden, udp: bool) -> None:
    """Every section of every answer, over both transports, computed and cached."""
    qname, qtype = golden.question.split()
    response = ask(responder, dns.message.make_query(qname, qtype), udp=udp)
    assert dns.rcode.to_text(response.rcode()) == golden.rcode
    assert dns.flags.to_text(response.flags) == golden.flags
    sections = (response.answer, response.authority, response.additional)
    shown = [[line for rrset in section for line in rrset.to_text().splitlines()] for section in sections]
    assert shown == [golden.answer, golden.authority, golden.additional]


def test_the_questions_letters_come_back_as_they_were(responder: Responder) -> None:
    """0x20: resolvers mix case at random, and drop answers whose question differs in a single bit."""
    query = dns.message.make_query("PaYmEnTs.ShOp.svc.CLUSTERSET.local", "A")
    response = ask(responder, query)
    assert response.question[0].name.to_text() == "PaYmEnTs.ShOp.svc.CLUSTERSET.local."
    assert response.answer[0].name.to_text() == "PaYmEnTs.ShOp.svc.CLUSTERSET.local."


def test_edns_is_answered_with_edns_only_when_asked(responder: Responder) -> None:
    """RFC 6891 section 6.1.1; DO comes back as it was (RFC 3225), and unknown options are ignored."""
    name = "payments.shop.svc.clusterset.local"
    assert ask(responder, dns.message.make_query(name, "A")).edns == -1
    with_edns = ask(responder, dns.message.make_query(name, "A", use_edns=0, payload=4096, want_dnssec=True))
    assert (with_edns.edns, with_edns.payload) == (0, 1232)
    assert with_edns.ednsflags & dns.flags.DO
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"8 bytes!")
    assert ask(responder, dns.message.make_query(name, "A", use_edns=0, options=[cookie])).options == ()


def test_an_unknown_edns_version_is_told_ours(responder: Responder) -> None:
    """RFC 6891 section 6.1.3: BADVERS, and version 0 in the answer."""
    response = ask(responder, dns.message.make_query("clusterset.local", "SOA", use_edns=1))
    assert response.rcode() == dns.rcode.BADVERS
    assert response.edns == 0


@pytest.mark.parametrize("opcode", [dns.opcode.IQUERY, dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE, 6, 15])
def test_other_opcodes_are_not_implemented(responder: Responder, opcode: int) -> None:
    """The header alone answers: the other sections mean something else there."""
    query = dns.message.make_query("clusterset.local", "SOA").to_wire()
    wire = responder.respond(query[:2] + bytes([opcode << 3 | 1]) + query[3:], udp=True)
    assert wire is not None
    assert wire[:2] == query[:2]
    assert (wire[2] >> 3 & 15, wire[2] >> 7, wire[3] & 15, len(wire)) == (opcode, 1, dns.rcode.NOTIMP, 12)


def test_other_classes_are_refused(responder: Responder) -> None:
    """We are authoritative for class IN only; `version.bind CH TXT` tells an attacker nothing."""
    for rdclass in (dns.rdataclass.CH, dns.rdataclass.ANY):
        response = ask(responder, dns.message.make_query("version.bind", "TXT", rdclass))
        assert response.rcode() == dns.rcode.REFUSED


def test_broken_queries_with_a_header_are_told_so(responder: Responder) -> None:
    """FORMERR for no question, two questions (RFC 9619), a cut name, a pointer loop, trailing bytes, two OPTs."""
    query = dns.message.make_query("clusterset.local", "SOA").to_wire()
    question, header = query[12:], query[:12]
    opt = b"\0\0\x29\x04\xd0" + bytes(6)
    broken = [
        header,
        header[:4] + bytes(8),
        header[:5] + b"\2" + header[6:] + question * 2,
        query[:20],
        header + b"\xc0\x0c\0\1\0\1",
        query + b"x",
        header[:11] + b"\2" + question + opt * 2,
    ]
    for wire in broken:
        answer = responder.respond(wire, udp=True)
        assert answer is not None, wire
        assert answer == query[:2] + b"\x81\x01" + bytes(8), wire
    assert responder.counters.malformed == len(broken)


def test_what_is_no_query_meets_silence(responder: Responder) -> None:
    """Answering a response could start an endless exchange between two servers; less than a header has no id."""
    query = dns.message.make_query("clusterset.local", "SOA")
    response = dns.message.make_response(query).to_wire()
    for wire in (b"", b"\0", query.to_wire()[:11], response):
        assert responder.respond(wire, udp=True) is None
        assert responder.respond(wire, udp=False) is None
    assert responder.counters.malformed == 8
