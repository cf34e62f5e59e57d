"""The merged catalog depends on what is exported, not on who heard of it first, and changes only what changed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Port, Protocol, ServiceName, ZoneHealth
from federation.catalog import Catalog
from federation.freshness import Freshness
from federation.imports import ImportPolicy
from federation.service_view import ServiceView
from federation.values import ExportValue

CLUSTERS = ("west", "eu", "asia")
NAMES = tuple(ServiceName("shop", name) for name in ("pay", "ledger"))

ports = st.builds(Port, st.sampled_from(["http", "admin"]), st.sampled_from([80, 81]), st.sampled_from(Protocol))
exports = st.builds(
    ExportValue,
    st.lists(ports, min_size=1, max_size=3).map(tuple),
    st.just(("*",)),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([(), (ZoneHealth("a", 1, 2),)]),
)
changes = st.lists(
    st.tuples(st.sampled_from(CLUSTERS), st.sampled_from(NAMES), st.none() | exports)
    | st.tuples(st.sampled_from(CLUSTERS), st.sampled_from(Freshness)),
    max_size=25,
)
Change = tuple[str, ServiceName, ExportValue | None] | tuple[str, Freshness]


def apply(catalog: Catalog, change: Change) -> set[ServiceName]:
    if len(change) == 3:
        return catalog.apply_export(*change)
    return catalog.apply_freshness(*change)


def last_words(history: Sequence[Change]) -> list[Change]:
    """The last change of each export and each freshness: what the history amounts to."""
    return list({change[:-1]: change for change in history}.values())


@given(changes, st.randoms(use_true_random=False))
def test_order_does_not_matter(history: list[Change], rng: random.Random) -> None:
    """Every member hears in another order, with other detours, and comes to the same result."""
    one, other = Catalog("east", ImportPolicy(None)), Catalog("south", ImportPolicy(None))
    for change in history:
        apply(one, change)
    final = last_words(history)
    rng.shuffle(final)
    for change in final:
        apply(other, change)
    assert dict(one.services) == dict(other.services)


@given(changes)
def test_what_is_said_to_have_changed_is_what_changed(history: list[Change]) -> None:
    """A change that is not told leaves workers with old routes; one that is told for nothing costs work."""
    catalog = Catalog("east", ImportPolicy(None))
    before: dict[ServiceName, ServiceView] = {}
    for change in history:
        told = apply(catalog, change)
        after = dict(catalog.services)
        assert told == {name for name in NAMES if before.get(name) != after.get(name)}
        before = after


@given(changes)
def test_a_service_is_consistent(history: list[Change]) -> None:
    """No port name or number twice; every share serves only ports of the service; each port has somebody to serve it;
    the oldest share never loses a port unless it contradicts itself."""
    catalog = Catalog("east", ImportPolicy(None))
    for change in history:
        apply(catalog, change)
    for view in catalog.services.values():
        assert len({port.name for port in view.ports}) == len(view.ports)
        assert len({port.port for port in view.ports}) == len(view.ports)
        served = {port for share in view.exports for port in share.ports}
        assert served == set(view.ports)
        ages = [(share.created, share.cluster) for share in view.exports]
        assert ages == sorted(ages)
        assert all(share.freshness in (Freshness.FRESH, Freshness.STALE) for share in view.exports)
