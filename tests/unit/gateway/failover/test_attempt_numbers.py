"""Which attempt of a request it is, over both gateways."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.attempt_numbers import allotment, attempt_value, read_attempt


@given(st.integers(1, 20), st.lists(st.booleans(), min_size=40, max_size=40))
def test_shares_of_the_attempts_never_add_up_to_more(limit: int, lost: list[bool]) -> None:
    """Each share is at least one attempt, and what was given away is not given again unless it came back."""
    made = used = 0
    for unknown in lost:
        if made >= limit:
            break
        share = allotment(made, limit)
        assert 1 <= share <= limit - made
        used += share if unknown else 1
        made += share if unknown else 1
    assert used == made <= limit


@given(st.integers(1, 99), st.integers(0, 99))
def test_an_attempt_can_be_read_as_it_was_written(number: int, more: int) -> None:
    written = attempt_value(number, number + more)
    assert read_attempt(written) == ((number, number + more) if number + more <= 100 else None)


@given(st.binary(max_size=20))
def test_what_is_no_attempt_is_none(value: bytes) -> None:
    """It comes from a peer: whatever it holds, the numbers that are believed make sense."""
    said = read_attempt(value)
    assert said is None or 1 <= said[0] <= said[1] <= 100
