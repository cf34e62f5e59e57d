"""How much one upstream may carry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.request.breaker import NEWS_S, Breaker
from gateway.traffic import Limits


@given(st.integers(0, 5), st.integers(0, 5), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_nothing_ever_exceeds_a_limit(requests: int, retries: int, steps: list[tuple[bool, bool]]) -> None:
    """Whatever comes and goes, and what was refused is refused only at a limit."""
    limits, breaker = Limits(requests=requests, retries=retries), Breaker()
    inside: list[bool] = []
    for comes, retry in steps:
        if comes:
            over = breaker.enter(limits, retry)
            full = len(inside) >= requests or (retry and sum(inside) >= retries)
            assert bool(over) == full
            if not over:
                inside.append(retry)
        elif inside:
            breaker.leave(inside.pop())
        assert (breaker.requests, breaker.retries) == (len(inside), sum(inside))
        assert breaker.requests <= requests
        assert breaker.retries <= retries


def test_an_overflow_is_told_once_in_a_while() -> None:
    breaker = Breaker()
    told = [breaker.overflowed(now) for now in (0.0, NEWS_S / 2, NEWS_S, NEWS_S * 1.5, NEWS_S * 2)]
    assert told == [True, False, True, False, True]
    assert breaker.overflows == 5
