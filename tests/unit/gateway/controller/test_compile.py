"""From what the controller believes to what its workers know. Pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from discovery.model import Endpoint, Locality, LocalService, Port, Protocol, ServiceName, ZoneHealth
from federation.freshness import Freshness, Reason
from federation.members import GatewayView, PeerView
from federation.service_view import ExportView, ServiceView
from gateway.config import load_config
from gateway.control import ListenerSpec
from gateway.controller.compile import changed_listeners, compile_local, compile_peer, compile_service, vip_listeners
from gateway.snapshot import GatewayAddress, LocalEndpoint, PeerResource, RemoteShare, ServiceResource

NAME = ServiceName("shop", "payments")
HTTP, WIRE = Port("http", 80, Protocol.HTTP), Port("wire", 7000, Protocol.TCP)
HERE = Endpoint("127.0.0.1", {"http": 9001}, zone="a")
THERE = Endpoint("127.0.0.2", {"http": 9001}, zone="b")
LOCAL = LocalService(NAME, (HTTP,), (HERE, THERE), export_to=("west",))


def export(cluster: str, *ports: Port, freshness: Freshness = Freshness.FRESH) -> ExportView:
    return ExportView(cluster, ports, (ZoneHealth("z", 1, 2),), 1.0, freshness)


def healthy(service: ServiceName, endpoint: Endpoint) -> bool:
    return endpoint is not THERE


def test_a_service_of_ours_and_of_others() -> None:
    """Local endpoints come from here with the health that was measured here, never from our own export's record."""
    view = ServiceView(NAME, (HTTP, WIRE), (export("east", HTTP), export("west", HTTP, WIRE)))
    assert compile_service(view, "east", LOCAL, "127.80.0.2", healthy) == ServiceResource(
        name=NAME,
        vip="127.80.0.2",
        ports=(HTTP, WIRE),
        endpoints=(LocalEndpoint(HERE, True), LocalEndpoint(THERE, False)),
        consumers=("west",),
        remotes=(RemoteShare("west", ("http", "wire"), (ZoneHealth("z", 1, 2),), stale=False),),
    )


def test_a_service_of_others_only() -> None:
    """Nobody may call it through us: a request from a peer never goes on to another."""
    stale = export("eu", HTTP, freshness=Freshness.STALE)
    compiled = compile_service(ServiceView(NAME, (HTTP,), (stale,)), "east", None, "", healthy)
    assert (compiled.endpoints, compiled.consumers) == ((), ())
    assert [(share.cluster, share.stale) for share in compiled.remotes] == [("eu", True)]


def test_the_same_beliefs_give_the_same_resources() -> None:
    """So that a worker is told only of what changed."""
    view = ServiceView(NAME, (HTTP,), (export("west", HTTP),))
    assert compile_service(view, "east", LOCAL, "", healthy) == compile_service(view, "east", LOCAL, "", healthy)


def test_a_peer() -> None:
    """Its gateways with where they are, and the roots that are believed now."""
    gateways = (GatewayView("g1", ("gw:15443", "192.0.2.1:15443"), "us-west", "us-west-1"),)
    view = PeerView("west", "west.test", (b"root",), gateways, Freshness.FRESH, next(iter(Reason)))
    address = GatewayAddress("g1", ("gw:15443", "192.0.2.1:15443"), Locality("us-west", "us-west-1"))
    assert compile_peer(view) == PeerResource("west", "west.test", (b"root",), (address,))


@pytest.mark.parametrize(("listen", "nameserver"), [("127.0.0.5:15053", "127.0.0.5"), ("0.0.0.0:15053", "")])
def test_our_own_cluster(tmp_path: Path, listen: str, nameserver: str) -> None:
    """A name server that listens everywhere has no address of its own to tell."""
    path = tmp_path / "cluster.yaml"
    path.write_text(
        f"""
federation: acme
cluster: {{name: east, region: us-east, zone: us-east-1a, trust_domain: east.acme.test}}
state_dir: ./state
failover: {{order: [us-west, eu]}}
dns: {{listen: "{listen}", ttl: 7s}}
"""
    )
    local = compile_local(load_config(path))
    assert (local.federation, local.cluster, local.trust_domain) == ("acme", "east", "east.acme.test")
    assert local.locality == Locality("us-east", "us-east-1a")
    assert local.failover.order == ("us-west", "eu")
    assert (local.dns_ttl_s, local.nameserver) == (7.0, nameserver)


def test_a_virtual_ip_listens_on_each_port() -> None:
    """And on none without an address."""
    service = ServiceResource(NAME, "127.80.0.2", (HTTP, WIRE))
    assert vip_listeners(service) == {
        "vip/shop/payments/http": ListenerSpec(
            "vip/shop/payments/http", "vip", "127.80.0.2:80", "service/shop/payments", "http"
        ),
        "vip/shop/payments/wire": ListenerSpec(
            "vip/shop/payments/wire", "vip", "127.80.0.2:7000", "service/shop/payments", "wire"
        ),
    }
    assert vip_listeners(ServiceResource(NAME, "", (HTTP,))) == {}
    assert vip_listeners(ServiceResource(NAME, "fd00::2", (HTTP,)))["vip/shop/payments/http"].address == "[fd00::2]:80"


def test_what_to_close_and_what_to_open() -> None:
    """A listener whose address changed is both."""
    before = vip_listeners(ServiceResource(NAME, "127.80.0.2", (HTTP, WIRE)))
    after = vip_listeners(ServiceResource(NAME, "127.80.0.3", (HTTP,)))
    gone, new = changed_listeners(before, after)
    assert gone == ["vip/shop/payments/http", "vip/shop/payments/wire"]
    assert new == [after["vip/shop/payments/http"]]
    assert changed_listeners(before, before) == ([], [])
    assert changed_listeners({}, before) == ([], list(before.values()))
    assert changed_listeners(before, {}) == (list(before), [])
