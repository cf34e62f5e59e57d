"""The zone as a table: names appear and vanish with their services, and leave nothing behind."""

from __future__ import annotations

import dns.name
import pytest
from dns.rdatatype import RdataType

from discovery.model import Port, Protocol, ServiceName
from discovery.zone import Answer, Outcome, Zone
from discovery.zone_records import ClusterShare, ZoneService

PAYMENTS = ServiceName("shop", "payments")
HTTP = Port("http", 80, Protocol.HTTP)


def service(
    name: ServiceName = PAYMENTS,
    *addresses: str,
    ports: tuple[Port, ...] = (HTTP,),
    shares: tuple[ClusterShare, ...] = (),
) -> ZoneService:
    return ZoneService(name, addresses or ("127.80.0.7",), ports, shares)


def ask(zone: Zone, qname: str, qtype: RdataType = RdataType.A) -> Answer:
    return zone.lookup(dns.name.from_text(qname), qtype, 5)


def texts(answer: Answer) -> list[str]:
    return [rdata.to_text() for records in answer.answer for rdata in records.rdatas]


def test_a_removed_service_takes_its_names_and_empty_ancestors_along() -> None:
    """What is gone is NXDOMAIN at once, including the namespace that held nothing else."""
    zone = Zone("acme")
    zone.upsert(service())
    assert ask(zone, "shop.svc.clusterset.local").outcome is Outcome.NODATA
    zone.remove(PAYMENTS)
    for gone in (
        "payments.shop.svc.clusterset.local",
        "_http._tcp.payments.shop.svc.clusterset.local",
        "shop.svc.clusterset.local",
    ):
        assert ask(zone, gone).outcome is Outcome.NXDOMAIN


def test_a_namespace_lives_as_long_as_one_of_its_services() -> None:
    """Ancestors are counted: removing one of two children must not remove the parent."""
    zone = Zone("acme")
    zone.upsert(service())
    zone.upsert(service(ServiceName("shop", "ledger")))
    zone.remove(PAYMENTS)
    assert ask(zone, "shop.svc.clusterset.local").outcome is Outcome.NODATA
    assert ask(zone, "ledger.shop.svc.clusterset.local").outcome is Outcome.FOUND


def test_an_update_replaces_addresses_and_ports() -> None:
    """No record of the earlier version survives an upsert."""
    zone = Zone("acme")
    zone.upsert(service())
    zone.upsert(service(PAYMENTS, "127.80.0.9", ports=(Port("grpc", 90, Protocol.GRPC),)))
    assert texts(ask(zone, "payments.shop.svc.clusterset.local")) == ["127.80.0.9"]
    assert ask(zone, "_http._tcp.payments.shop.svc.clusterset.local").outcome is Outcome.NXDOMAIN
    assert ask(zone, "_grpc._tcp.payments.shop.svc.clusterset.local", RdataType.SRV).outcome is Outcome.FOUND


def test_the_generation_grows_with_changes_only() -> None:
    """Cached answers are dropped when it grows, so the repetition of what is known must not."""
    zone = Zone("acme")
    before = zone.generation
    zone.upsert(service())
    after = zone.generation
    assert after > before
    zone.upsert(service())
    zone.remove(ServiceName("shop", "unknown"))
    assert zone.generation == after
    zone.remove(PAYMENTS)
    assert zone.generation > after


def test_both_address_families_are_answered() -> None:
    """A dual-stack service has A and AAAA, and SRV brings both along."""
    zone = Zone("acme")
    zone.upsert(service(PAYMENTS, "127.80.0.7", "fd00::7"))
    assert texts(ask(zone, "payments.shop.svc.clusterset.local", RdataType.AAAA)) == ["fd00::7"]
    srv = ask(zone, "payments.shop.svc.clusterset.local", RdataType.SRV)
    assert {records.rtype for records in srv.additional} == {RdataType.A, RdataType.AAAA}


def test_unnamed_and_unnameable_ports_have_no_srv() -> None:
    """KEP-1645: named ports only. With its underscore, a name of 63 letters no longer fits a label."""
    zone = Zone("acme")
    zone.upsert(service(ports=(Port("", 80, Protocol.TCP), Port("x" * 63, 81, Protocol.TCP))))
    assert ask(zone, "payments.shop.svc.clusterset.local", RdataType.SRV).outcome is Outcome.NODATA
    assert ask(zone, "payments.shop.svc.clusterset.local").outcome is Outcome.FOUND


@pytest.mark.parametrize("bad", ["", "a.b", "Payments", "päyments", "x" * 64, "-a"])
def test_a_name_that_dns_cannot_carry_harms_nothing(bad: str) -> None:
    """One bad record must neither stop the others nor leave something behind."""
    zone = Zone("acme")
    zone.upsert(service())
    zone.upsert(service(ServiceName("shop", bad)))
    zone.upsert(service(ServiceName(bad, "payments")))
    assert ask(zone, "payments.shop.svc.clusterset.local").outcome is Outcome.FOUND
    zone.remove(ServiceName("shop", bad))
    zone.remove(PAYMENTS)
    assert ask(zone, "svc.clusterset.local").outcome is Outcome.NXDOMAIN


def test_a_share_answers_in_our_own_zone_only() -> None:
    """MCS forbids `<cluster>.<svc>.<ns>.svc.clusterset.local`; the share has a name of ours, with SRV."""
    zone = Zone("acme")
    zone.upsert(service(shares=(ClusterShare("west", ("127.80.9.9",)),)))
    assert texts(ask(zone, "payments.shop.svc.west.acme.isthmus")) == ["127.80.9.9"]
    srv = ask(zone, "_http._tcp.payments.shop.svc.west.acme.isthmus", RdataType.SRV)
    assert texts(srv) == ["0 100 80 payments.shop.svc.west.acme.isthmus."]
    assert ask(zone, "payments.shop.svc.eu.acme.isthmus").outcome is Outcome.NXDOMAIN
    assert ask(zone, "west.payments.shop.svc.clusterset.local").outcome is Outcome.NXDOMAIN
    assert ask(zone, "payments.shop.svc.west.other.isthmus").outcome is Outcome.OUTSIDE


def test_a_share_whose_name_is_too_long_is_left_out() -> None:
    """Five labels of 63 exceed the 255 bytes of a name: the service itself must still resolve."""
    zone = Zone("f" * 63)
    name = ServiceName("n" * 63, "s" * 63)
    zone.upsert(service(name, shares=(ClusterShare("c" * 63, ("127.80.9.9",)),)))
    assert ask(zone, name.fqdn).outcome is Outcome.FOUND
