"""Which clusters answer, and how steadily they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.events import Cause, EventKind
from gateway.failover.reach import ClusterReach, GatewayReach, rtt_step
from gateway.failover.retry import Failure
from tests.failover_parts import EU, WEST, Worker, service, share, tunnels


def up(rtt_s: float = 0.01) -> list[GatewayReach]:
    return [GatewayReach("west", "g", 2, rtt_s)]


DOWN = [GatewayReach("west", "g", 0, 0.0)]


def two_clusters() -> Worker:
    worker = Worker(service(remotes=(share("west"), share("eu"))))
    worker.plan()
    worker.events()
    return worker


def test_a_cluster_whose_tunnels_end_is_out_at_once() -> None:
    """Cilium 19217, Kuma 17877: a dead cluster keeps getting traffic."""
    worker = two_clusters()
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    assert worker.shares() == {"eu": 1.0}
    assert worker.choose(EU, failure=Failure.CONNECTION_LOST) == EU
    assert worker.events() == [(EventKind.FAILED_OVER, "eu", Cause.TUNNELS)]


def test_the_first_tunnels_ever_are_no_return() -> None:
    """A gateway that starts uses what is near from its first request on."""
    cluster = ClusterReach()
    cluster.take(DOWN, 0.0)
    cluster.take(up(), 1.0)
    assert cluster.damping == 1.0


def test_a_cluster_that_is_back_gets_its_share_little_by_little() -> None:
    worker = two_clusters()
    worker.decisions.take_tunnels(tunnels("eu"), worker.now)
    worker.wait(3.0)
    worker.decisions.take_tunnels(tunnels("west", "eu"), worker.now)
    shares = []
    for _ in range(6):
        shares.append(worker.shares().get("west", 0.0))
        worker.wait(1.0)
    assert shares == sorted(shares)
    assert 0.1 < shares[0] < 0.2
    assert worker.shares() == {"west": 1.0}
    kinds = [kind for kind, _, _ in worker.events()]
    assert EventKind.PANIC not in kinds
    assert kinds[-1] is EventKind.RECOVERED


def test_a_cluster_that_is_back_gets_everything_if_nobody_else_can() -> None:
    worker = Worker(service(remotes=(share("west"),)))
    for _ in range(4):
        worker.decisions.take_tunnels([], worker.now)
        assert worker.choose() is None
        worker.decisions.take_tunnels(tunnels("west"), worker.now)
        assert worker.choose() == WEST


def test_a_flapping_cluster_does_not_swing_the_load() -> None:
    """It goes and comes every two seconds for a minute: after its first returns it stays all but out."""
    worker = two_clusters()
    most = []
    for _ in range(15):
        worker.decisions.take_tunnels(tunnels("eu"), worker.now)
        worker.wait(2.0)
        worker.decisions.take_tunnels(tunnels("west", "eu"), worker.now)
        worker.wait(2.0)
        most.append(worker.shares().get("west", 0.0))
    assert most[0] > 0.3
    assert max(most[3:]) < 0.01
    worker.wait(60.0)
    assert worker.shares() == {"west": 1.0}


def test_flapping_long_ago_is_forgotten() -> None:
    cluster = ClusterReach()
    cluster.take(up(), 0.0)
    for i in range(5):
        cluster.take(DOWN, float(i))
        cluster.take(up(), i + 0.5)
    assert cluster.damping < 0.01
    cluster.settle(100.0)
    cluster.take(DOWN, 1000.0)
    cluster.take(up(), 1001.0)
    assert cluster.damping == 0.1


def test_a_cluster_that_left_is_forgotten() -> None:
    worker = two_clusters()
    worker.apply(removals=("peer/west",))
    assert worker.shares() == {"eu": 1.0}
    assert "west" not in worker.decisions.reach.clusters


@given(st.floats(0.0001, 2.0), st.integers(0, 12))
def test_a_class_of_round_trip_times_holds_what_it_says(rtt_s: float, present: int) -> None:
    """And a time that differs by a tenth stays in its class, so that nothing is reordered for it."""
    step = rtt_step(rtt_s, present)
    assert rtt_s <= 0.002 * 2**step * 1.25
    assert step == 0 or rtt_s >= 0.002 * 2 ** (step - 1) * 0.75
    assert rtt_step(rtt_s * 1.1, step) == step or rtt_s * 1.1 > 0.002 * 2**step * 1.25
    assert rtt_step(rtt_s, step) == step


def test_a_busy_gateway_is_no_further_away() -> None:
    """Clusters are ordered by distance: one that answers late for a while must not change places."""
    reach = ClusterReach()
    steps = []
    for second, rtt_s in enumerate([0.0008, *[0.006] * 5, 0.0007, *[0.009] * 4, 0.0009]):
        reach.take(up(rtt_s), float(second))
        steps.append(reach.rtt_step)
    assert set(steps) == {0}


def test_a_path_that_got_longer_is_noticed() -> None:
    """After half a minute; one that got shorter at once."""
    reach = ClusterReach()
    for second in range(32):
        reach.take(up(0.001 if second == 0 else 0.02), float(second))
    assert reach.rtt_step == 4
    reach.take(up(0.001), 32.0)
    assert reach.rtt_step == 0
