"""Whatever arrives: no exception, and nothing but answers that fit their query."""

from __future__ import annotations

import dns.message
import dns.name
from dns.rdatatype import RdataType
from hypothesis import example, given, settings
from hypothesis import strategies as st

from discovery.dns_message import DnsCounters, Responder
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService

NAMES = [ServiceName(namespace, name) for namespace in ("a", "b") for name in ("x", "y")]
PORTS = tuple(Port(f"port-{number}", 1000 + number, Protocol.TCP) for number in range(30))


def service(name: ServiceName, last: int, ports: int) -> ZoneService:
    return ZoneService(name, (f"127.80.0.{last}",), PORTS[:ports])


def filled_zone() -> Zone:
    zone = Zone("acme", ["127.0.0.1"])
    for number, name in enumerate(NAMES):
        zone.upsert(service(name, 10 + number, 10 * number))
    return zone


RESPONDER = Responder(filled_zone(), 5, DnsCounters())

LABELS = st.sampled_from(["a", "b", "x", "Y", "svc", "clusterset", "local", "_tcp", "_port-1", "isthmus", "acme", "é"])
QNAMES = st.one_of(
    st.sampled_from([name.fqdn for name in NAMES] + ["clusterset.local", "dns-version.clusterset.local", "."]),
    st.lists(LABELS, min_size=1, max_size=7).map(".".join),
)
QTYPES = st.one_of(st.sampled_from(["A", "AAAA", "SRV", "TXT", "SOA", "NS", "ANY"]), st.integers(0, 65_535))


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    qtype = draw(QTYPES)
    query = dns.message.make_query(
        draw(QNAMES),
        qtype if isinstance(qtype, str) else RdataType.make(qtype),
        id=draw(st.integers(0, 65_535)),
    )
    if draw(st.booleans()):
        query.use_edns(draw(st.integers(0, 2)), 0, draw(st.integers(0, 65_535)))
    return query.to_wire()


def check(wire: bytes, udp: bool) -> None:
    answer = RESPONDER.respond(wire, udp=udp)
    if answer is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    response = dns.message.from_wire(answer)
    assert answer[:2] == wire[:2]
    assert answer[2] & 0x80, "an answer is a response"
    assert not answer[3] & 0x80, "recursion is never available"
    assert len(answer) <= (1232 if udp else 65_535)
    if response.question:
        # What else a query brings may be no record of its type: we do not look, and dnspython shall not either.
        asked = dns.message.from_wire(wire, keyring=False, question_only=True)
        assert asked.question[0].to_text() == response.question[0].to_text()


@given(st.binary(max_size=600), st.booleans())
@example(b"\0" * 12, True)
@example(b"\0" * 11 + b"\1" + b"\0\0\xfa\0\xff\0\0\0\0\0\0", True)
@example(b"\0\0\1\0\0\1\0\0\0\0\0\1" + b"\1a\0\0\1\0\1" + b"\0\0\2\0\0\0\0\0\0\0\0", True)
def test_arbitrary_bytes_never_raise(wire: bytes, udp: bool) -> None:
    """Garbage is answered with an error or with silence."""
    check(wire, udp)


@given(queries(), st.booleans())
def test_every_query_is_answered_in_kind(wire: bytes, udp: bool) -> None:
    """A well-formed query always gets an answer, which dnspython takes for the answer to it."""
    answer = RESPONDER.respond(wire, udp=udp)
    assert answer is not None
    assert dns.message.from_wire(wire).is_response(dns.message.from_wire(answer))
    check(wire, udp)


@given(queries(), st.data(), st.booleans())
def test_damaged_queries_never_raise(wire: bytes, data: st.DataObject, udp: bool) -> None:
    """Bits flipped, bytes cut, bytes added."""
    damaged = bytearray(wire)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    check(bytes(damaged[:cut]) + data.draw(st.binary(max_size=30)), udp)
    check(bytes(damaged), udp)


CHANGES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, 30)),
    max_size=6,
)


@settings(max_examples=40)
@given(CHANGES, st.lists(queries(), min_size=1, max_size=3))
def test_a_cached_answer_is_never_out_of_date(changes: list[tuple[ServiceName, int, int]], asked: list[bytes]) -> None:
    """After every change of the zone, a responder with a warm cache says what one without any says."""
    zone = filled_zone()
    warm = Responder(zone, 5, DnsCounters())
    for name, last, ports in changes:
        if last:
            zone.upsert(service(name, last, ports))
        else:
            zone.remove(name)
        for wire in (*asked, *asked):
            for udp in (True, False):
                fresh = Responder(zone, 5, DnsCounters())
                assert warm.respond(wire, udp=udp) == fresh.respond(wire, udp=udp)


@given(CHANGES)
def test_a_zone_forgets_what_it_removed(changes: list[tuple[ServiceName, int, int]]) -> None:
    """The table after any changes is the table of what is left: no record and no counter leaks."""
    zone, left = Zone("acme"), dict[ServiceName, ZoneService]()
    for name, last, ports in changes:
        if last:
            left[name] = service(name, last, ports)
            zone.upsert(left[name])
        else:
            left.pop(name, None)
            zone.remove(name)
    fresh = Zone("acme")
    for kept in left.values():
        fresh.upsert(kept)
    candidates = {
        fqdn for name in NAMES for fqdn in (name.fqdn, f"_tcp.{name.fqdn}", f"{name.namespace}.svc.clusterset.local")
    }
    for text in [*candidates, "svc.clusterset.local", "_port-3._tcp." + NAMES[0].fqdn]:
        qname = dns.name.from_text(text)
        assert zone.lookup(qname, RdataType.SRV, 5).outcome == fresh.lookup(qname, RdataType.SRV, 5).outcome
