"""The ledger remembers sequences longer than records, and not without bound."""

from __future__ import annotations

from federation import paths
from federation.ledger import MAX_TOMBSTONES, Ledger

A, B = paths.ack("a"), paths.ack("b")


def test_a_buried_place_keeps_its_sequence() -> None:
    """Otherwise a record that was withdrawn could be put there again by anyone."""
    ledger = Ledger()
    ledger.store(A, 5, b"x")
    assert ledger.bury(A) == 5
    assert ledger.bury(A) is None
    assert not ledger.holds(A, b"x")
    assert ledger.last_sequence(A) == 5
    assert ledger.last_sequence(B) == -1


def test_what_a_listing_did_not_show_is_unseen() -> None:
    ledger = Ledger()
    ledger.store(A, 1, b"x")
    ledger.store(B, 1, b"x")
    ledger.listing += 1
    ledger.mark_seen(B)
    assert ledger.unseen() == [A]
    assert ledger.was_seen(B)
    assert not ledger.was_seen(A)


def test_graves_are_bounded_and_their_sequences_stay_a_floor() -> None:
    """A peer that churns through names can't fill our memory; what was levelled is still refused when it comes back."""
    ledger = Ledger()
    for number in range(MAX_TOMBSTONES + 10):
        path = paths.ack(f"p{number}")
        ledger.store(path, number, b"x")
        ledger.bury(path)
    assert len(ledger) == MAX_TOMBSTONES
    assert ledger.last_sequence(paths.ack("p3")) == 9
    assert ledger.last_sequence(paths.ack(f"p{MAX_TOMBSTONES}")) == MAX_TOMBSTONES
