"""When a failed attempt may be followed by another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failover.retry import Failure, may_retry

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
