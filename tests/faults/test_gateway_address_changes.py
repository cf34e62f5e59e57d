"""A gateway moves to another address, and only the DNS name that it advertises says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.demo.waiting import wait_until
from tests.fault_rig.clusters import FaultLab, Site, open_fault_lab
from tests.fault_rig.explained import explained
from tests.fault_rig.forwarder import Forwarder
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within
from tests.fault_rig.samples import Account
from tests.name_server import NameServer
from tests.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.long]

NAME = "gw.west.test"
TTL_S = 1
GAP_LIMIT_S = TTL_S + 1.0
OLD, NEW = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with NameServer(TTL_S) as server:
        server.hosts[NAME] = [OLD]
        yield server


@pytest.fixture(scope="module")
def port() -> int:
    """The same at both addresses: a name has no port."""
    return free_port()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, server: NameServer, port: int) -> Iterator[FaultLab]:
    """West alone has the service, so that nothing else can hide what becomes of it."""
    sites = [
        Site("east", gateway_section=f", nameservers: [{server.address}]"),
        Site("west", {"payments": 1, "ledger": 1}, mesh_port=0, advertise=f"{NAME}:{port}"),
    ]
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *sites, wait=False) as lab:
        yield lab


def test_peers_05_gateway_address_changes_are_noticed(lab: FaultLab, server: NameServer, port: int) -> None:
    """First the new address is there beside the old one and the name moves: nothing is lost. Then the old one goes
    without a word and the name moves at once: no GET fails, and nobody waits for longer than the TTL and a second."""
    mesh = lab["west"].gateways[0].addresses.mesh
    with Forwarder((OLD, port), mesh) as old:
        lab.wait_ready()
        with Forwarder((NEW, port), mesh) as new, Load(lab.plan()) as load:
            load.wait_served_by("west")
            server.hosts[NAME] = [NEW]
            wait_until(lambda: new.open and not old.open, "the tunnels have moved")
            load.wait_more()
            assert load.account().failed == 0
            here, there = (NEW, new), (OLD, old)

            def move() -> float:
                nonlocal here, there
                here, there = there, here
                gets = leave_silent(lab, load, server, here, there)
                [gateway] = lab.gateway.status().peers[0].data.gateways
                assert gateway.address == f"{here[0]}:{port}"
                assert gets.failed == 0
                return gets.gap_s

            within(GAP_LIMIT_S, move)


def leave_silent(
    lab: FaultLab, load: Load, server: NameServer, to: tuple[str, Forwarder], away: tuple[str, Forwarder]
) -> Account:
    """What GETs saw of a gateway that moved from one address to another without a word."""
    host, network = to
    wait_until(lambda: away[1].open and not network.open, "the tunnels are at the address to leave")
    # Not before, as a long stream would hold the tunnel that it is on.
    with Load(lab.plan(tcp="ledger", get_clients=0, post_clients=0)) as stream:
        load.wait_served_by("west")
        at = now()
        server.hosts[NAME] = [host]
        away[1].freeze()
        wait_until(lambda: network.open, "the tunnels have moved away from what is silent")
        load.wait_more()
        stream.wait_more(10, "tcp")
        stream.report("gateway address changes without a word", since=at)
    gets = load.report("gateway address changes without a word", since=at)
    explained(lab, lambda e: e.summary.startswith("west gets 100 %: ") and e.places[0].tunnels == 2)
    away[1].mend()
    return gets


def test_every_address_is_used(lab: FaultLab, server: NameServer, port: int) -> None:
    """A name with two addresses has a tunnel to each, and one of them may end without a failure."""
    mesh = lab["west"].gateways[0].addresses.mesh
    server.hosts[NAME] = [OLD, NEW]
    with Forwarder((OLD, port), mesh) as old, Forwarder((NEW, port), mesh) as new:
        wait_until(lambda: old.open and new.open, "both addresses are used")
        with Load(lab.plan()) as load:
            load.wait_served_by("west")
            old.cut()
            load.wait_more()
            assert load.account().failed == 0
