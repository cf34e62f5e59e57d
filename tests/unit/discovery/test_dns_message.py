"""Sizes, the cache, and what is counted. (The answers themselves: tests/conformance/dns.)"""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest

from discovery import dns_message
from discovery.dns_message import DnsCounters, Responder
from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Zone
from discovery.zone_records import ZoneService

PAYMENTS = ServiceName("shop", "payments")


def make_responder(ports: int = 1, *addresses: str) -> tuple[Zone, Responder]:
    zone = Zone("acme")
    named = tuple(Port(f"p{number}", 1000 + number, Protocol.TCP) for number in range(ports))
    zone.upsert(ZoneService(PAYMENTS, addresses or ("127.80.0.7",), named))
    return zone, Responder(zone, 5, DnsCounters())


def ask(responder: Responder, query: dns.message.Message, *, udp: bool = True) -> tuple[int, dns.message.Message]:
    wire = responder.respond(query.to_wire(), udp=udp)
    assert wire is not None
    return len(wire), dns.message.from_wire(wire)


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (0, 512), (512, 512), (900, 900), (1232, 1232), (4096, 1232)]
)
def test_udp_answers_stay_within_the_clients_size_and_ours(payload: int | None, limit: int) -> None:
    """Without EDNS 512 bytes; with it the client's size, which is never below 512 (RFC 6891 section 6.2.3), and
    never more than ours. What does not fit sets TC, so that the client comes over TCP."""
    edns = {} if payload is None else {"use_edns": 0, "payload": payload}
    fitting, too_large = make_responder(ports=3)[1], make_responder(ports=60)[1]
    query = dns.message.make_query(PAYMENTS.fqdn, "SRV", **edns)  # type: ignore[arg-type]
    assert not ask(fitting, query)[1].flags & dns.flags.TC
    size, answer = ask(too_large, query)
    assert size <= limit
    assert answer.flags & dns.flags.TC
    assert answer.answer == []
    assert too_large.counters.truncated == 1
    whole = ask(too_large, query, udp=False)[1]
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 60


def test_the_additional_section_goes_first() -> None:
    """An answer that fits without its additional section is not truncated: nothing that was asked is missing."""
    # Eight SRV records leave less of the 512 bytes than three addresses take.
    _, responder = make_responder(8, "127.80.0.7", "fd00::7", "fd00::8")
    _, answer = ask(responder, dns.message.make_query(PAYMENTS.fqdn, "SRV"))
    assert not answer.flags & dns.flags.TC
    assert len(answer.answer[0]) == 8
    assert answer.additional == []


def test_a_change_shows_at_the_next_query() -> None:
    """The cache must not outlive the zone's version."""
    zone, responder = make_responder()
    query = dns.message.make_query(PAYMENTS.fqdn, "A")
    assert ask(responder, query)[1].answer[0][0].to_text() == "127.80.0.7"
    zone.upsert(ZoneService(PAYMENTS, ("127.80.0.9",), ()))
    assert ask(responder, query)[1].answer[0][0].to_text() == "127.80.0.9"
    zone.remove(PAYMENTS)
    assert ask(responder, query)[1].answer == []


def test_a_repeated_question_comes_from_the_cache_with_its_own_id() -> None:
    """Only the id differs between two resolvers that ask the same."""
    _, responder = make_responder()
    for ident in (1, 2, 65_535):
        assert ask(responder, dns.message.make_query(PAYMENTS.fqdn, "A", id=ident))[1].id == ident
    assert responder.counters.cache_hits == 2
    assert responder.counters.answers["A", "NOERROR"] == 3


def test_the_transports_do_not_share_answers() -> None:
    """A truncated answer must never be served over TCP."""
    _, responder = make_responder(ports=60)
    query = dns.message.make_query(PAYMENTS.fqdn, "SRV")
    for _ in range(2):
        assert ask(responder, query)[1].flags & dns.flags.TC
        assert not ask(responder, query, udp=False)[1].flags & dns.flags.TC
    assert responder.counters.cache_hits == 2


def test_cookies_and_padding_are_not_cached() -> None:
    """They make every query unique."""
    _, responder = make_responder()
    for number in range(3):
        cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, number.to_bytes(8, "big"))
        for _ in range(2):
            ask(responder, dns.message.make_query(PAYMENTS.fqdn, "A", use_edns=0, options=[cookie]))
    assert responder.counters.cache_hits == 0


def test_random_names_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded, and goes on working for what is really asked for."""
    monkeypatch.setattr(dns_message, "_CACHE_ENTRIES", 8)
    _, responder = make_responder()
    for number in range(50):
        ask(responder, dns.message.make_query(f"x{number}.svc.clusterset.local", "A"))
        for _ in range(2):
            ask(responder, dns.message.make_query(PAYMENTS.fqdn, "A"))
    assert responder.counters.cache_hits >= 50
    assert all(len(cache) <= 8 for cache in responder._caches.values())


def test_metric_labels_are_bounded() -> None:
    """A client must not be able to make a time series for each of 65,536 query types."""
    _, responder = make_responder()
    for qtype in range(1000, 1100):
        ask(responder, dns.message.make_query(PAYMENTS.fqdn, f"TYPE{qtype}"))
    assert dict(responder.counters.answers) == {("other", "NOERROR"): 100}
