"""Two gateways in a row never try more often than one was told to, whatever becomes of the attempts.

Both exchanges are real; between them stands what a tunnel would carry.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec.events import ErrorCode, Reset, Response, ResponseHead
from gateway.failover.target import LocalTarget, RemoteTarget
from gateway.route import Origin
from gateway.traffic import Retries, Traffic
from tests.exchange_play import Play

OUTCOMES = ["ok", "error", "lost", "refused", "unconnected", "hangs", "gateway lost"]


class Journey:
    """A request that a caller's gateway sends to clusters with some endpoints each."""

    def __init__(self, limit: int, clusters: list[int], far_limit: int, method: bytes, outcomes: list[str]) -> None:
        self.endpoint_attempts = 0
        self.far_limit = far_limit
        self.method = method
        self._outcomes = iter(outcomes)
        self._sizes = dict(enumerate(clusters))
        targets = [RemoteTarget(f"c{i}") for i in self._sizes]
        self.caller = Play(*targets, method=method, traffic=Traffic(retries=Retries(attempts=limit)))
        self.caller.hedge_after_s = 1.0
        self.caller.begin()
        done = 0
        while done < len(self.caller.upstreams):
            self._arrive(done)
            done += 1
            if done == len(self.caller.upstreams) and not self.caller.outcomes:
                self.caller.wait_until(self.caller.now + 1.0)

    def _arrive(self, upstream: int) -> None:
        """The other cluster's gateway takes the request in, and its answer goes back."""
        target, _, conn = self.caller.upstreams[upstream]
        assert isinstance(target, RemoteTarget)
        endpoints = [LocalTarget(f"h:{i}") for i in range(self._sizes[int(target.cluster[1:])])]
        far = Play(
            *endpoints,
            method=self.method,
            headers=self.caller.heads[upstream].headers,
            origin=Origin(peer="caller"),
            traffic=Traffic(retries=Retries(attempts=self.far_limit)),
        )
        far.begin()
        lost = self._play(far)
        if conn.handlers:
            if lost or not far.client.heads:
                if lost:
                    self.caller.lose(upstream)
            else:
                self.caller.answer(Response(1, far.client.heads[-1], True), upstream=upstream)

    def _play(self, far: Play) -> bool:
        """Decides each attempt there. True if the gateway itself is lost."""
        done = 0
        while done < len(far.upstreams):
            outcome = next(self._outcomes, "ok")
            self.endpoint_attempts += 1
            if outcome == "gateway lost":
                return True
            if outcome == "hangs":
                return False
            if outcome in ("ok", "error"):
                far.answer(Response(1, ResponseHead(200 if outcome == "ok" else 503, []), True), upstream=done)
            elif outcome == "lost":
                far.lose(done)
            else:
                far.answer(Reset(1, ErrorCode.REFUSED_STREAM, unprocessed=True), upstream=done)
            done += 1
        return False


@settings(max_examples=300)
@given(
    st.integers(1, 8),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.integers(1, 8),
    st.sampled_from([b"GET", b"PUT", b"POST"]),
    st.lists(st.sampled_from(OUTCOMES), max_size=40),
)
def test_both_gateways_together_stay_within_the_limit(
    limit: int, clusters: list[int], far_limit: int, method: bytes, outcomes: list[str]
) -> None:
    journey = Journey(limit, clusters, far_limit, method, outcomes)
    assert journey.endpoint_attempts <= limit
    assert len(journey.caller.upstreams) <= limit
    assert journey.caller.exchange.made <= limit


def test_a_request_can_use_all_of_its_attempts() -> None:
    """Guards the test above against counting nothing."""
    assert Journey(4, [3, 3, 3], 4, b"GET", ["error"] * 40).endpoint_attempts == 4
