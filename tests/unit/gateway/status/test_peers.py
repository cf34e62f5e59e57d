"""A peer's status in three parts: what makes each good, and what a person is told when it is not."""

from __future__ import annotations

import msgspec
import pytest

from federation.errors import RefusalCode
from federation.freshness import Freshness, Lease, Link, Reason
from federation.refusals import Refusal
from federation.report import GatewayStatus, PeerStatus
from federation.status.peer_values import ClusterDocument, PeerServicesDocument
from gateway.control import Report, Tunnel
from gateway.status.peers import describe_peer, known_sequence, linked_clusters

WEST = PeerStatus(
    cluster="west",
    trust_domain="west.acme.test",
    root="sha256:" + "00" * 32,
    freshness=Freshness.FRESH,
    reason=Reason.HEARD,
    since_s=1.0,
    lease=Lease.LIVE,
    link=Link.UP,
    away=False,
    bundle_sequence=3,
    acknowledged=1,
    gateways=(GatewayStatus("west-1", ("127.0.0.1:1",), "us-west", "a", "0.1.0", True),),
    exports=2,
    imported=1,
    refusals=(),
    refusal_counts={},
    record_keys=("kid",),
)
WEST_ID = "spiffe://west.acme.test/ns/isthmus-system/sa/isthmus-gateway"
GOOD = Tunnel("west", "west-1", "127.0.0.1:1", ready=2, wanted=2, peer_id=WEST_ID, rtt_ms=0.5)
DOWN = Tunnel("west", "west-1", "127.0.0.1:1", ready=0, wanted=2, error="Connection refused")


def report(*tunnels: Tunnel, inbound: int = 0) -> Report:
    return Report([*tunnels], {}, inbound={"west": inbound, "eu": 7}, ready=True)


def describe(peer: PeerStatus = WEST, *reports: Report) -> ClusterDocument:
    return describe_peer(peer, reports, PeerServicesDocument(1, 1))


def test_a_peer_is_ready_when_both_paths_are_good() -> None:
    """Workers' tunnels add up; the round trip is the best one; other clusters' numbers stay out."""
    west = describe(WEST, report(GOOD, inbound=2), report(msgspec.structs.replace(GOOD, rtt_ms=0.3), inbound=1))
    assert (west.ready, west.problem) == (True, "")
    assert (west.data.tunnels_ready, west.data.tunnels_wanted, west.data.rtt_ms) == (4, 4, 0.3)
    assert (west.data.inbound_connections, west.data.spiffe_ids) == (3, (WEST_ID,))
    assert (west.control.bundle_sequence, west.control.acknowledged_sequence) == (3, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lease": Lease.LOST}, "control: none of its gateways holds a lease"),
        ({"bundle_sequence": -1}, "control: its trust bundle was not read yet"),
        ({"bundle_sequence": -1, "away": True}, "control: no trust bundle of it is in etcd"),
        ({"record_keys": (), "lease": Lease.LOST}, "control: it has left the federation; remove peers.west here"),
        ({"record_keys": (), "away": True}, "control: it has left the federation"),
        (
            {"bundle_sequence": -1, "refusals": (Refusal("bundle", RefusalCode.BAD_CHAIN, "another root", 0.0),)},
            "control: what it wrote is refused: bad-chain: another root",
        ),
    ],
)
def test_a_good_data_path_alone_is_not_ready(change: dict[str, object], told: str) -> None:
    """Tunnels may stand for a while when a peer has left; the reason is said."""
    west = describe(msgspec.structs.replace(WEST, **change), report(GOOD))
    assert (west.ready, west.control.ok, west.data.ok) == (False, False, True)
    assert west.problem.startswith(told)


def test_without_etcd_the_control_path_is_not_good() -> None:
    """What was heard before says nothing about now, though it stays in use."""
    west = describe(msgspec.structs.replace(WEST, etcd_synced=False), report(GOOD))
    assert (west.ready, west.data.ok, west.control.etcd_connected) == (False, True, False)
    assert west.problem == "control: etcd can't be followed; what was known stays in use"


def test_the_etcd_of_a_peer_is_named() -> None:
    """Whoever reads that it can't be followed, or is empty, must know which of several it is."""
    url = "https://etcd.west.acme.test:2379"
    away = describe(msgspec.structs.replace(WEST, etcd=(url,), etcd_synced=False), report(GOOD))
    assert away.problem == f"control: its etcd ({url}) can't be followed; what was known stays in use"
    assert away.control.etcd == (url,)
    empty = describe(msgspec.structs.replace(WEST, etcd=(url,), away=True), report(GOOD))
    assert "is in the etcd that peers.west.etcd names" in empty.problem


@pytest.mark.parametrize(
    ("reports", "told"),
    [
        ((), "data: no worker has reported yet"),
        ((report(),), "data: no tunnel is ready"),
        ((report(DOWN),), "data: no tunnel is ready: Connection refused"),
        ((report(msgspec.structs.replace(GOOD, rtt_ms=0.0)),), "data: no tunnel has answered a probe yet"),
    ],
)
def test_a_good_control_path_alone_is_not_ready(reports: tuple[Report, ...], told: str) -> None:
    """Other meshes show such a peer as connected: that a lease lives does not mean that a request gets there. A
    handshake that ended on our side says nothing either, before the peer has answered."""
    west = describe(WEST, *reports)
    assert (west.ready, west.control.ok, west.data.ok) == (False, True, False)
    assert west.problem == told


def test_a_peer_without_gateways_has_nothing_to_connect_to() -> None:
    """Not a fault of tunnels, so they are not blamed."""
    west = describe(msgspec.structs.replace(WEST, gateways=()), report())
    assert west.problem == "data: no gateway of it is known, so there is nothing to connect to"


def test_both_paths_tell_their_trouble() -> None:
    """A person sees at once that it is the whole peer."""
    west = describe(msgspec.structs.replace(WEST, lease=Lease.LOST), report(DOWN))
    assert "control: " in west.problem
    assert "; data: " in west.problem


def test_an_error_that_was_overcome_is_not_shown() -> None:
    """One tunnel of a worker may have failed before; when all stand, nothing is wrong."""
    west = describe(WEST, report(msgspec.structs.replace(GOOD, error="it was slow")), report(DOWN))
    assert west.data.gateways[0].error == "Connection refused"
    west = describe(WEST, report(msgspec.structs.replace(GOOD, error="it was slow")))
    assert west.data.gateways[0].error == ""


def test_gateways_are_told_apart() -> None:
    """One of two gateways may be down while the peer is reached through the other."""
    other = msgspec.structs.replace(DOWN, gateway="west-2", address="127.0.0.1:2")
    west = describe(WEST, report(GOOD, other))
    assert west.ready
    assert [(t.gateway, t.ready, t.error) for t in west.data.gateways] == [
        ("west-1", 2, ""),
        ("west-2", 0, "Connection refused"),
    ]


def test_only_answering_tunnels_link_clusters() -> None:
    """Services of a peer count as reachable by the same rule as its data path."""
    unanswered = msgspec.structs.replace(GOOD, cluster="eu", rtt_ms=0.0)
    assert linked_clusters([report(GOOD, unanswered), report(DOWN)]) == {"west"}


def test_no_sequence_is_null() -> None:
    """Zero is a sequence; none is -1 inside and null outside."""
    assert (known_sequence(-1), known_sequence(0), known_sequence(5)) == (None, 0, 5)
