"""Virtual IPs under any sequence of arrivals and departures."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from discovery.errors import VipRangeExhausted
from discovery.model import ServiceName
from discovery.vip import VipPool

# Small, so that probing past taken addresses happens all the time.
RANGE = ipaddress.IPv4Network("127.80.0.0/28")
NAMES = st.builds(ServiceName, st.sampled_from(["a", "b"]), st.sampled_from([f"s{n}" for n in range(12)]))
STEPS = st.lists(st.tuples(st.sampled_from(["assign", "release", "restart"]), NAMES), max_size=60)


@given(STEPS)
def test_addresses_are_unique_usable_and_stay_until_released(steps: list[tuple[str, ServiceName]]) -> None:
    """No two names share an address, and nothing but a release takes one away, not even a restart."""
    pool = VipPool(RANGE, {})
    expected: dict[ServiceName, str] = {}
    for step, name in steps:
        if step == "assign":
            try:
                expected[name] = pool.assign(name)
            except VipRangeExhausted:
                assert len(expected) == pool.size
        elif step == "release":
            pool.release(name)
            expected.pop(name, None)
        else:
            pool = VipPool(RANGE, dict(pool.assigned))
        assert dict(pool.assigned) == expected
    assert len(set(expected.values())) == len(expected)
    usable = {str(RANGE[index]) for index in range(2, 15)}
    assert set(expected.values()) <= usable
