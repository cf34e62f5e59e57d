"""A peer that floods is cut where the limits say, and what is taken depends on what it offers, not on how it came."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Port, Protocol, ServiceName, ZoneHealth
from federation.catalog import Catalog
from federation.import_cap import ImportCap, ImportLimits, count_endpoints
from federation.imports import ImportPolicy
from federation.values import ExportValue

NAMES = tuple(ServiceName("shop", name) for name in "abcdefgh")
PORTS = (Port("http", 80, Protocol.HTTP),)

exports = st.builds(
    ExportValue,
    st.just(PORTS),
    st.just(("*",)),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.sampled_from([(), (ZoneHealth("a", 0, 1),), (ZoneHealth("a", 2, 2), ZoneHealth("b", 0, 3))]),
)
histories = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | exports), max_size=40)
limits = st.builds(ImportLimits, st.integers(1, 9), st.integers(1, 12))


def longest_run(offered: dict[ServiceName, ExportValue], limits: ImportLimits) -> dict[ServiceName, ExportValue]:
    """The rule as its documentation has it."""
    taken: dict[ServiceName, ExportValue] = {}
    endpoints = 0
    for name in sorted(offered, key=lambda name: (offered[name].created, name)):
        endpoints += count_endpoints(offered[name])
        if len(taken) == limits.max_services or endpoints > limits.max_endpoints:
            break
        taken[name] = offered[name]
    return taken


@given(histories, limits)
def test_what_is_taken_is_the_longest_run_that_fits(
    history: list[tuple[ServiceName, ExportValue | None]], limits: ImportLimits
) -> None:
    """After every step; and the changes that each step tells lead from one to the next."""
    cap = ImportCap(limits)
    offered: dict[ServiceName, ExportValue] = {}
    told: dict[ServiceName, ExportValue] = {}
    for name, value in history:
        offered.pop(name, None)
        if value is not None:
            offered[name] = value
        for changed, taken in cap.put(name, value).items():
            told.pop(changed, None)
            if taken is not None:
                told[changed] = taken
        assert dict(cap.taken) == told == longest_run(offered, limits)
        assert cap.left_out == len(offered) - len(told)
        assert (cap.first_left_out is None) == (not cap.left_out)


@given(st.dictionaries(st.sampled_from(NAMES), exports), limits, st.randoms(use_true_random=False))
def test_arrival_order_does_not_matter_to_the_catalog(
    offered: dict[ServiceName, ExportValue], limits: ImportLimits, rng: random.Random
) -> None:
    """Two members, or one before and after a restart, take the same of a flooding peer. Another peer's services are
    there whole, and what is taken in the end is never let go on the way."""
    catalogs = []
    final = set(longest_run(offered, limits))
    for _ in range(2):
        catalog = Catalog("east", ImportPolicy(None, limits))
        catalog.apply_export("eu", ServiceName("shop", "pay"), ExportValue(PORTS, ("*",), 5.0))
        names = list(offered)
        rng.shuffle(names)
        for number, name in enumerate(names):
            catalog.apply_export("west", name, offered[name])
            assert final & set(names[: number + 1]) <= catalog.services.keys()
        catalogs.append(dict(catalog.services))
    assert catalogs[0] == catalogs[1]
    assert catalogs[0].keys() == {ServiceName("shop", "pay"), *final}
