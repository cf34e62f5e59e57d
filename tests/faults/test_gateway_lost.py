"""One of the two gateways of a cluster is killed, then frozen; and how the two share the load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.demo.waiting import wait_until
from gateway.tunnel.settled_streams import SETTLED_S
from tests.fault_rig.clusters import READY_TIMEOUT_S, FaultLab, Gateway, open_fault_lab, three_clusters
from tests.fault_rig.explained import explained
from tests.fault_rig.load import Load, now
from tests.fault_rig.rounds import within

pytestmark = [pytest.mark.processes, pytest.mark.long]

GAP_LIMIT_S = {"kill": 0.1, "freeze": 1.0}
USED = 20
"""Requests that show that a gateway is used."""
SHARED = 1_500
"""Requests over which the shares are counted."""
SKEW_LIMIT = 0.1
STREAM_SETTLED = int(2 * SETTLED_S / 0.05)
"""Lines of a TCP stream, one every 50 ms, until it is no sign any more of how busy its gateway is."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultLab]:
    with open_fault_lab(tmp_path_factory.mktemp("lab"), *three_clusters(gateways=2)) as lab:
        yield lab


@pytest.fixture(autouse=True)
def whole(lab: FaultLab) -> None:
    lab.wait_ready()


def requests_by(gateway: Gateway) -> int:
    """How many requests of east a gateway has answered; 0 while it does not say."""
    total = 0.0
    for line in gateway.ask("/metrics").decode().splitlines():
        if line.startswith("isthmus_requests_total{") and 'source_cluster="east"' in line:
            total += float(line.rpartition(" ")[2])
    return int(total)


def assert_shared_evenly(lab: FaultLab) -> None:
    """Counts the requests of a load that each of west's gateways answers."""
    gateways = lab["west"].gateways
    before = [requests_by(gateway) for gateway in gateways]
    with Load(lab.plan(interval_ms=8, post_clients=0)) as load:
        load.wait_more(SHARED)
    sent = load.account()
    assert sent.failed == 0
    assert sent.by_cluster.keys() == {"west"}
    counts: list[int] = []

    def all_counted() -> bool:
        counts[:] = [requests_by(gateway) - count for gateway, count in zip(gateways, before, strict=True)]
        return sum(counts) >= sent.sent

    wait_until(all_counted, "the gateways have counted all")
    mean = sum(counts) / len(counts)
    print("shares", counts)
    assert max(abs(count - mean) for count in counts) / mean < SKEW_LIMIT, counts


def test_peers_14_gateways_of_a_cluster_share_the_load_evenly(lab: FaultLab) -> None:
    """Each request is placed for itself, so that a gateway that was started again, or that nobody knew before, gets its
    half at once, though the tunnels to the other one are older."""
    assert_shared_evenly(lab)
    restarted, replaced = lab["west"].gateways
    restarted.kill()
    bring_back(lab, restarted)
    assert_shared_evenly(lab)
    replaced.kill()
    (replaced.state_dir / "gateway-id").unlink()
    bring_back(lab, replaced)
    assert_shared_evenly(lab)


def test_peers_14_a_gateway_that_holds_a_stream_gets_its_share(lab: FaultLab) -> None:
    """A stream that lies there for long is no request that a busy gateway has not answered yet."""
    with Load(lab.plan(tcp="ledger", get_clients=0, post_clients=0)) as stream:
        stream.wait_more(STREAM_SETTLED, "tcp")
        assert_shared_evenly(lab)


def bring_back(lab: FaultLab, gateway: Gateway) -> None:
    """Until it listens again, as east's status may still be that of a moment before the kill; then until it is used,
    and nobody misses the one that it was before."""
    gateway.start()
    assert gateway.addresses
    lab.wait_ready()
    wait_until(lambda: all_answer(lab), "the one that it was before is forgotten", timeout_s=READY_TIMEOUT_S)
    explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")


def all_answer(lab: FaultLab) -> bool:
    """Whether east has tunnels to every gateway that it knows of west."""
    (west,) = (peer for peer in lab.gateway.status().peers if peer.cluster == "west")
    return all(tunnel.ready for tunnel in west.data.gateways)


def wait_used(gateway: Gateway) -> None:
    before = requests_by(gateway)
    wait_until(lambda: requests_by(gateway) >= before + USED, "the gateway is used")


def lose(lab: FaultLab, load: Load, gateway: Gateway, how: str) -> float:
    """Breaks one gateway that is used, and mends it; gives the longest gap that GETs saw of it."""
    # The first time it may tell of what was before, late.
    wait_used(gateway)
    wait_used(gateway)
    load.wait_served_by("west")
    at = now()
    getattr(gateway, how)()
    load.wait_more(200)
    gets = load.report(f"one of two gateways: {how}", since=at)
    said = explained(lab, lambda e: "only 50 % of the gateways of west answer" in e.summary)
    assert said.summary.startswith("west gets 70 %, eu gets 30 %: ")
    assert gets.failed == 0
    assert gets.by_cluster.keys() == {"west"}
    if how == "kill":
        bring_back(lab, gateway)
    else:
        gateway.thaw()
        lab.wait_ready()
    return gets.gap_s


def test_peers_03_one_bad_gateway_does_not_eject_its_cluster(lab: FaultLab) -> None:
    """The other one carries all: nothing goes to the next cluster, not even what was under way."""
    frozen, killed = lab["west"].gateways
    with Load(lab.plan(tcp="ledger")) as load:
        within(GAP_LIMIT_S["kill"], lambda: lose(lab, load, killed, "kill"))
        within(GAP_LIMIT_S["freeze"], lambda: lose(lab, load, frozen, "freeze"))
        load.wait_more()
        explained(lab, lambda e: e.summary == "west gets 100 %: failover.order 1")
        assert load.account().failed == 0
