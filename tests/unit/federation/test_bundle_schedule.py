"""When a bundle endpoint is asked again."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from federation.bundle_schedule import DEFAULT_INTERVAL_S, MAX_INTERVAL_S, next_poll_s


@given(st.one_of(st.none(), st.integers(0, 2**63 - 1)), st.integers(0, 10_000), st.integers())
def test_never_at_once_and_never_never(hint_s: int | None, failures: int, seed: int) -> None:
    """An owner's hint, however odd, may neither make us hammer its server nor forget it."""
    assert 1.0 <= next_poll_s(hint_s, failures, random.Random(seed)) <= MAX_INTERVAL_S


@given(st.integers(10, 3600), st.integers())
def test_the_hint_is_followed_a_little_early(hint_s: int, seed: int) -> None:
    """SPIFFE Federation, section 4.1; all followers at one moment would be a flood."""
    assert 0.8 * hint_s <= next_poll_s(hint_s, 0, random.Random(seed)) <= hint_s


def test_without_a_hint_every_five_minutes() -> None:
    """What the standard recommends."""
    assert 0.8 * DEFAULT_INTERVAL_S <= next_poll_s(None, 0, random.Random(1)) <= DEFAULT_INTERVAL_S == 300


@given(st.integers(1, 50), st.integers())
def test_failures_are_repeated_ever_later_up_to_the_interval(failures: int, seed: int) -> None:
    """Soon after the first, for one lost packet; then no faster than without failures (section 6.2)."""
    assert next_poll_s(60, failures, random.Random(seed)) <= min(60.0, 2.0**failures)
