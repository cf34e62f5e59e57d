"""Freshness: two witnesses and a clock, in virtual time."""

from __future__ import annotations

import itertools

import pytest

from federation.freshness import Freshness, Lease, Link, PeerFreshness, Reason

FRESH, SUSPECT, STALE, WITHDRAWN = Freshness


def peer() -> PeerFreshness:
    return PeerFreshness(0.0, stale_after_s=30.0, withdraw_after_s=86_400.0)


@pytest.mark.parametrize(
    ("lease", "link", "state", "reason"),
    [
        (Lease.LIVE, Link.UP, FRESH, Reason.HEARD),
        (Lease.LIVE, Link.UNTRIED, FRESH, Reason.HEARD),
        (Lease.LIVE, Link.DOWN, SUSPECT, Reason.LINK_DOWN),
        (Lease.LOST, Link.UP, SUSPECT, Reason.LEASE_LOST),
        (Lease.LOST, Link.UNTRIED, SUSPECT, Reason.LEASE_LOST),
        (Lease.LOST, Link.DOWN, SUSPECT, Reason.NOTHING_HEARD),
        (Lease.UNKNOWN, Link.UP, SUSPECT, Reason.ETCD_AWAY),
        (Lease.UNKNOWN, Link.UNTRIED, SUSPECT, Reason.ETCD_AWAY),
        (Lease.UNKNOWN, Link.DOWN, SUSPECT, Reason.NOTHING_HEARD),
    ],
)
def test_the_table(lease: Lease, link: Link, state: Freshness, reason: Reason) -> None:
    """DESIGN section 7, every combination of witnesses."""
    it = peer()
    it.observe_lease(lease, 1.0)
    it.observe_link(link, 1.0)
    assert (it.state, it.reason) == (state, reason)


def test_silence_makes_stale_then_withdrawn_and_a_word_makes_fresh() -> None:
    """Each step is a transition with its reason, exactly at its time."""
    it = peer()
    it.observe_lease(Lease.LIVE, 10.0)
    it.observe_link(Link.UP, 10.0)
    assert it.next_deadline() is None
    it.observe_link(Link.DOWN, 20.0)
    it.observe_lease(Lease.LOST, 25.0)
    assert it.next_deadline() == 55.0
    assert it.tick(54.9) is None
    stale = it.tick(55.0)
    assert stale is not None
    assert (stale.before, stale.after, stale.reason, stale.at) == (SUSPECT, STALE, Reason.STALE_AFTER, 55.0)
    assert it.next_deadline() == 25.0 + 86_400.0
    withdrawn = it.tick(25.0 + 86_400.0)
    assert withdrawn is not None
    assert withdrawn.after is WITHDRAWN
    assert it.next_deadline() is None
    back = it.observe_link(Link.UP, 90_000.0)
    assert back is not None
    assert (back.before, back.after, back.reason) == (WITHDRAWN, SUSPECT, Reason.LEASE_LOST)


def test_losing_etcd_makes_nothing_stale_while_tunnels_answer() -> None:
    it = peer()
    it.observe_lease(Lease.LIVE, 0.0)
    it.observe_link(Link.UP, 0.0)
    it.observe_lease(Lease.UNKNOWN, 1.0)
    assert it.next_deadline() is None
    assert it.tick(1e9) is None
    assert it.state is SUSPECT


def test_losing_both_counts_from_the_second_loss() -> None:
    """A tunnel that breaks while etcd is away for long is news, not proof of a long silence."""
    it = peer()
    it.observe_link(Link.UP, 0.0)
    it.observe_link(Link.DOWN, 1_000.0)
    assert it.state is SUSPECT
    assert it.next_deadline() == 1_030.0


def test_a_start_without_etcd_is_silence_from_the_start() -> None:
    """What the cache holds is used, at last priority after a while, until somebody answers."""
    it = peer()
    assert (it.state, it.next_deadline()) == (SUSPECT, 30.0)
    assert it.tick(30.0) is not None
    assert it.state is STALE


def test_limits_that_change_apply_to_the_silence_that_is() -> None:
    it = peer()
    it.set_limits(5.0, 10.0)
    assert it.next_deadline() == 5.0
    assert it.tick(6.0) is not None
    assert it.next_deadline() == 10.0


def test_the_table_has_every_combination() -> None:
    """No pair of witnesses escapes it."""
    for lease, link in itertools.product(Lease, Link):
        it = peer()
        it.observe_lease(lease, 0.0)
        it.observe_link(link, 0.0)
        assert it.tick(1e6) is None or it.state is WITHDRAWN


def test_an_etcd_that_takes_long_to_be_read_is_not_silence() -> None:
    """A listing of a hundred thousand services may outlast `stale_after`: its peers are suspect meanwhile, no worse.
    What is stale already waits for a word."""
    it = peer()
    for now in (20.0, 45.0, 70.0):
        it.listen(now)
        assert it.tick(now + 29.9) is None
        assert it.state is SUSPECT
    stale = it.tick(100.0)
    assert stale is not None
    assert stale.after is STALE
    it.listen(101.0)
    assert it.tick(102.0) is None
    assert it.state is STALE
