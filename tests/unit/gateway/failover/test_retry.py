"""When a failed attempt may be followed by another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.retry import (
    Failure,
    RetryBudget,
    allotment,
    attempt_value,
    may_retry,
    read_attempt,
)

UNPROCESSED = {Failure.CONNECT, Failure.REFUSED, Failure.NO_HEALTHY_UPSTREAM, Failure.OVERFLOW}


@pytest.mark.parametrize("failure", list(Failure))
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"PATCH", b"CONNECT", b"get"])
def test_only_what_is_safe_is_repeated(failure: Failure, method: bytes) -> None:
    """RFC 9110 section 9.2.2: unprocessed requests always, others only when idempotent."""
    idempotent = method in (b"GET", b"HEAD", b"PUT", b"DELETE")
    expected = failure in UNPROCESSED or idempotent
    assert may_retry(failure, method, replayable=True, made=1, limit=4) is expected


@given(st.sampled_from(list(Failure)), st.sampled_from([b"GET", b"POST"]), st.integers(1, 10), st.booleans())
def test_never_without_the_body_and_never_for_ever(
    failure: Failure, method: bytes, made: int, replayable: bool
) -> None:
    allowed = may_retry(failure, method, replayable=replayable, made=made, limit=5)
    assert not (allowed and (not replayable or made >= 5))


def test_failover_from_a_dead_gateway_costs_no_budget() -> None:
    """A whole cluster's load moves at once: a budget of a fifth would fail the rest of it. What is sent away because
    there is too much of it is no such case: elsewhere it is too much as well."""
    free = {failure for failure in Failure if not failure.costs_budget}
    assert free == UNPROCESSED - {Failure.OVERFLOW} | {Failure.CONNECTION_LOST}


def test_a_quiet_worker_may_retry_a_few_times_a_second() -> None:
    budget = RetryBudget()
    assert [budget.take(now=100.0) for _ in range(4)] == [True, True, True, False]
    assert budget.take(now=100.4)
    assert not budget.take(now=100.5)


def test_a_busy_worker_retries_up_to_a_fifth_of_its_requests() -> None:
    budget = RetryBudget(active=50, retrying=9)
    assert all(budget.take(now=1.0) for _ in range(10))
    budget.retrying = 10
    assert [budget.take(now=1.0) for _ in range(4)] == [True, True, True, False]


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
