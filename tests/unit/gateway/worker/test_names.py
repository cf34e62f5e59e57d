"""DNS in a worker follows the snapshot."""

from __future__ import annotations

import dns.message
import dns.rcode
import msgspec

from discovery.model import Locality, Port, Protocol, ServiceName
from gateway.failover.policy import FailoverSettings
from gateway.snapshot import LocalResource, ServiceResource
from gateway.worker.names import NameService

LOCAL = LocalResource("acme", "east", Locality(), "east.test")
PAYMENTS = ServiceResource(ServiceName("shop", "payments"), "127.80.0.2", (Port("http", 80, Protocol.HTTP),))
FQDN = PAYMENTS.name.fqdn


def ask(names: NameService, name: str = FQDN, kind: str = "A") -> tuple[str, list[str]]:
    """The response code, and the answer's records as text."""
    wire = names.respond(dns.message.make_query(name, kind).to_wire(), udp=True)
    assert wire is not None
    message = dns.message.from_wire(wire)
    return dns.rcode.to_text(message.rcode()), [str(record) for rrset in message.answer for record in rrset]


def started(*services: ServiceResource) -> NameService:
    names = NameService()
    names.configure(LOCAL, services)
    return names


def test_it_is_silent_before_the_first_snapshot() -> None:
    """A resolver asks again elsewhere; told that the name does not exist it would believe so for a while."""
    names = NameService()
    names.changed(None, PAYMENTS)
    assert names.respond(dns.message.make_query(FQDN, "A").to_wire(), udp=True) is None


def test_a_service_has_its_virtual_ip() -> None:
    """And its port as SRV."""
    names = started(PAYMENTS)
    assert ask(names) == ("NOERROR", ["127.80.0.2"])
    assert ask(names, f"_http._tcp.{FQDN}", "SRV") == ("NOERROR", [f"0 100 80 {FQDN}."])


def test_changes_show_at_once() -> None:
    """Another address, none any more, none at all."""
    names = started(PAYMENTS)
    moved = msgspec.structs.replace(PAYMENTS, vip="127.80.0.9")
    names.changed(PAYMENTS, moved)
    assert ask(names) == ("NOERROR", ["127.80.0.9"])
    without = msgspec.structs.replace(PAYMENTS, vip="")
    names.changed(moved, without)
    assert ask(names)[0] == "NXDOMAIN"
    names.changed(without, PAYMENTS)
    names.changed(PAYMENTS, None)
    assert ask(names)[0] == "NXDOMAIN"


def test_a_service_without_an_address_has_no_name() -> None:
    """The range is used up, or the claim is under way."""
    assert ask(started(msgspec.structs.replace(PAYMENTS, vip="")))[0] == "NXDOMAIN"


def test_settings_that_concern_names() -> None:
    """The time to live, the name server's address; others leave the zone alone."""
    names = started(PAYMENTS)
    zone = names._zone
    names.configure(msgspec.structs.replace(LOCAL, failover=FailoverSettings(("west",))), [])
    assert names._zone is zone
    names.configure(msgspec.structs.replace(LOCAL, dns_ttl_s=30.0), [PAYMENTS])
    wire = names.respond(dns.message.make_query(FQDN, "A").to_wire(), udp=True)
    assert wire is not None
    assert dns.message.from_wire(wire).answer[0].ttl == 30


def test_a_ttl_below_a_second_is_one() -> None:
    """Zero would have every client ask each time."""
    names = NameService()
    names.configure(msgspec.structs.replace(LOCAL, dns_ttl_s=0.2), [PAYMENTS])
    wire = names.respond(dns.message.make_query(FQDN, "A").to_wire(), udp=True)
    assert wire is not None
    assert dns.message.from_wire(wire).answer[0].ttl == 1


def test_counts_go_on_when_settings_change() -> None:
    """A counter that falls looks like a restart."""
    names = started(PAYMENTS)
    ask(names)
    names.configure(msgspec.structs.replace(LOCAL, dns_ttl_s=30.0), [PAYMENTS])
    ask(names)
    assert names.counters.answers["A", "NOERROR"] == 2
