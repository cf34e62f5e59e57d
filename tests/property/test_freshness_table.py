"""Freshness: whatever the witnesses say and whenever, the state follows from them and the length of the silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federation.freshness import Freshness, Lease, Link, PeerFreshness

STALE_AFTER_S, WITHDRAW_AFTER_S = 30.0, 300.0
steps = st.lists(
    st.tuples(st.floats(0.0, 400.0), st.sampled_from(Lease) | st.sampled_from(Link) | st.none()), max_size=30
)


@given(steps)
def test_the_state_is_what_the_witnesses_and_the_clock_say(history: list[tuple[float, Lease | Link | None]]) -> None:
    """The model beside it: fresh or suspect while anybody speaks; else by the time since somebody last did. Every
    transition starts where the last one ended, and the deadline is never in the past."""
    peer = PeerFreshness(0.0, stale_after_s=STALE_AFTER_S, withdraw_after_s=WITHDRAW_AFTER_S)
    now = silent_since = 0.0
    lease, link = Lease.UNKNOWN, Link.UNTRIED
    for pause_s, input in history:
        now += pause_s
        before, heard_before = peer.state, Lease.LIVE is lease or Link.UP is link
        match input:
            case Lease():
                lease = input
                transition = peer.observe_lease(input, now)
            case Link():
                link = input
                transition = peer.observe_link(input, now)
            case None:
                transition = peer.tick(now)
        heard = lease is Lease.LIVE or link is Link.UP
        if heard_before and not heard:
            silent_since = now
        if heard:
            both = lease is Lease.LIVE and link is not Link.DOWN
            assert peer.state is (Freshness.FRESH if both else Freshness.SUSPECT)
            assert peer.next_deadline() is None
        elif now >= silent_since + WITHDRAW_AFTER_S:
            assert peer.state is Freshness.WITHDRAWN
        elif now >= silent_since + STALE_AFTER_S:
            assert peer.state is Freshness.STALE
        else:
            assert peer.state is Freshness.SUSPECT
        deadline = peer.next_deadline()
        assert deadline is None or deadline > now
        if transition is None:
            assert peer.state is before
        else:
            assert (transition.before, transition.after, transition.at) == (before, peer.state, now)
