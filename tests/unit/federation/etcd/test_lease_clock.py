"""A lease's clock."""

from __future__ import annotations

import pytest

from federation.etcd.lease_clock import LeaseClock, whole_seconds


def test_time_counts_from_when_the_renewal_was_asked_for() -> None:
    """Then we give the lease up before etcd does, never after."""
    clock = LeaseClock(9, asked_at=100.0)
    assert (clock.renew_at, clock.deadline) == (103.0, 109.0)
    clock.renewed(6, asked_at=103.0)
    assert (clock.renew_at, clock.deadline) == (105.0, 109.0)


def test_a_failed_renewal_is_soon_repeated_and_moves_no_deadline() -> None:
    """A failure must not buy time."""
    clock = LeaseClock(12, asked_at=0.0)
    clock.failed(4.5)
    assert (clock.renew_at, clock.deadline) == (5.5, 12.0)


@pytest.mark.parametrize(("asked_s", "whole"), [(0.2, 1), (1.0, 1), (1.2, 2), (30.0, 30)])
def test_etcd_counts_whole_seconds(asked_s: float, whole: int) -> None:
    """Rounded up: a lease that ends earlier than asked for is a surprise."""
    assert whole_seconds(asked_s) == whole
